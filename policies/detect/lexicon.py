"""What columns are called: English, pinyin in full and by first letters, Chinese. One line a notion: kind, strength, words.

A line of WORDS matches whole words of the name (`phone_no`, `phoneNo`, `PHONE-NO` are the words phone, no; `?` after an underscore
makes it optional). A line of PARTS matches anywhere in the name written together, so its words are long ones. A line of HAN matches
Chinese names and comments. Strength is how sure the words alone are, with nothing in the table: 0.9 hardly ever something else,
0.6 mostly, 0.4 about as often something else.
"""

from __future__ import annotations

PERSON = (
    "customer cust client user usr member person people employee emp staff worker personnel contact patient student pupil teacher tutor doctor nurse "
    "passenger guest visitor applicant borrower lender insured insurant beneficiary holder cardholder owner payee payer guarantor spouse child parent father "
    "mother guardian kin relative driver tenant resident citizen voter donor subscriber recipient receiver consignee sender candidate player author agent teller manager mgr "
    "officer lawyer participant attendee buyer seller partner director signatory nominee subject individual human friend family dependant dependent victim witness "
    "kh khxx kehu yh yonghu hy huiyuan yg yuangong ry renyuan hz huanzhe xs xuesheng js jiaoshi laoshi ys yisheng lxr jkr dbr fr skr fkr cyr sqr bbxr tbr syr jsr cz chezhu "
    "jbr jb hh jiashu qs lc zg zhigong gy guiyuan jl cphm ck lvke laoren gm gerenxx grxx geren gr lianxiren shr sjr jjlxr po peiou"
)
"""Whose names, numbers and addresses are about persons; as words of a table's or column's name."""
PERSON_HAN = "客户|用户|会员|人员|员工|职员|患者|病人|学生|教师|老师|医生|联系人|借款人|担保人|法人|收款人|付款人|持卡人|申请人|投保人|被保险人|受益人|乘客|旅客|访客|车主|业主|司机|家属|亲属|配偶|监护人|居民|个人|柜员|经理|雇员|工人|党员"
THING = (
    "product prod item goods sku brand branch dept department division org organization organisation company corp firm shop store warehouse file filename table column "
    "field schema db database role menu page module task job project app application event channel city province state country region area district category "
    "cat class type group tag label course subject school hospital clinic ward room bank product plan package template rule config param parameter setting dict "
    "key code host server service process script report document doc template book title song movie game device model color colour drug medicine disease test index view "
    "function method queue topic job batch system sys vendor manufacturer supplier merchant carrier currency fund stock bond campaign activity promotion coupon level grade status asset part material "
    "position post occupation industry street road building village team unit policy contract display host domain bucket node cluster pool vehicle car ship flight hotel station line "
    "cp chanpin sp shangpin bm bumen jg jigou wd wangdian hang yhang zh zhihang gs gongsi dw danwei qy xm xiangmu kc ks cd caidan js jiaose yp yaopin wl ck sb lx fl lb pp dq sf cs"
)
"""Whose names are harmless."""
THING_HAN = "产品|商品|物品|货品|品牌|支行|分行|网点|机构|部门|单位|公司|企业|银行|行名|店|仓库|文件|表|列|字段|角色|菜单|页面|模块|任务|项目|应用|系统|事件|渠道|城市|省|国家|地区|区域|分类|类别|类型|分组|标签|课程|科目|学校|医院|科室|病区|规则|参数|模板|报告|书|设备|型号|药|疾病|币种|基金|活动|等级|岗位|职务|行业|车辆|合同|材料|费用|指标|供应商|厂家|厂商|部件|作业|库|服务器|主机"
INSTITUTION = "branch branches outlet outlets atm atms store stores shop shops hospital hospitals department departments dept depts warehouse warehouses office offices site sites station stations agency agencies wd wangdian jigou jg zhihang fenhang bumen bm organization organizations org orgs venue venues school schools"
"""Tables about the house's own places: their phones and addresses stand on the door."""
INSTITUTION_HAN = "网点|支行|分行|机构|部门|门店|仓库|医院|科室|学校|办事处"
MONEY_TABLE = (
    "transaction transactions txn txns trans trade trades transfer transfers payment payments pay loan loans deposit deposits withdrawal withdrawals statement statements "
    "ledger journal entry entries repayment repayments remittance remittances claim claims bill bills account accounts acct jy jiaoyi zz zhuanzhang dk daikuan ck cunkuan hk huankuan "
    "zd zhangdan ls liushui mx mingxi zw cash wallet settlement settlements wire credit debit jymx jyls lsz dkht dkjj fk"
)
MONEY_TABLE_HAN = "交易|转账|流水|贷款|存款|还款|账单|汇款|支付|账户|理赔|提现|充值|明细"

WORDS: tuple[tuple[str, float, str], ...] = (
    (
        "name",
        0.9,
        "full_?name real_?name legal_?name true_?name birth_?name person_?name first_?name last_?name middle_?name given_?name family_?name fore_?name sur_?name maiden_?name mother_?maiden",
    ),
    (
        "name",
        0.9,
        "surname forename fname lname mname firstnm lastnm nachname vorname prenom apellido apellidos cognome nombres holder_?n(?:a)?m(?:e)? card_?holder(?:_?na?me?)? account_?holder(?:_name)? emboss(?:ed)?_?na?me? name_on_card",
    ),
    (
        "name",
        0.85,
        "(?:customer|cust|client|patient|student|employee|emp|staff|member|owner|contact|payee|payer|receiver|recipient|consignee|sender|beneficiary|bene|guardian|spouse|father|mother|parent|applicant|borrower|insured|policyholder|passenger|guest|driver|teacher|doctor|nurse|tenant|subscriber|donor|counterparty|peer|opponent|opp|account|acct|acc|acnt|ac|buyer|seller|signatory|delegate|agent|mgr|manager|teller|operator|officer|visitor|author|child|legal_person|legal_rep|drawer|remitter|user_real|nok)_?(?:full_)?(?:na?me?|nm|name_line)(?:_(?:line_)?\\d)?",
    ),
    (
        "name",
        0.8,
        "contact_?person emergency_?contact payee beneficiary consignee cardholder legal_?rep(?:resentative)? legal_?person guarantor next_?of_?kin spouse signatory cosigner policy_?holder primary_?contact receiver recipient maiden",
    ),
    (
        "name",
        0.6,
        "doctor physician manager nurse teacher author applicant attending borrower lender patient owner driver passenger counterparty surgeon nok salesperson sales_?rep account_?manager attn",
    ),
    (
        "name",
        0.45,
        "user_?name display_?name nick_?name operator creator handler approver reviewer signer prepared_by approved_by",
    ),
    (
        "name",
        0.9,
        "(?:[a-z]{2,8}_?)?(?:xm|xingming) khxm khxming zsxm yhxm hzxm ygxm ryxm xsxm jsxm lxrxm skrxm fkrxm ckrxm xingm xm_?(?:zw|yw|py|cn|en)",
    ),
    (
        "name",
        0.75,
        "lxr lianxiren jjlxr skr fkr jkr dbr jbr jingbanren frdb fddbr faren czr chikaren cyr shr shouhuoren sjr shoujianren bbxr tbr syr bdbr fzr fuzeren hm huming khmc kehumc zhmc zhhm skrmc fkrmc dfhm dfmc skhm fkhm xing ming cym jhr jsy sqr zhanghuming xingshi dsr wtr dlr",
    ),
    ("name", 0.45, "fr ys yisheng khjl kehujingli zg jbrmc czy caozuoyuan lrr"),
    (
        "id_card",
        0.9,
        "id_?card(?:_?(?:no|num|number|nbr|code|id))? identity_?(?:card|no|num|number|code) identification_?(?:no|num|number) idcard idno id_?no id_?num(?:ber)? idnum cert_?(?:no|num|number|id|code) certificate_?(?:no|num|number) certno cred_?(?:no|num|number) credential_?(?:no|num|number) citizen_?(?:id|no|number) resident_?id(?:_(?:no|number))? cnid national_?id_?card identity_?document_?(?:no|number) id_?doc(?:ument)?_?(?:no|num|number) personal_?id(?:_(?:no|number))?",
    ),
    (
        "id_card",
        0.9,
        "(?:[a-z]{1,8}_?)?sfz(?:h|hm|id|haoma|jhm|jh)? (?:[a-z]{1,6}_?)?zj(?:h|hm|haoma) shenfenzheng(?:hao|haoma|h|hm)? shenfen(?:hao|id) zhengjian(?:hao|haoma|hm|h) gmsfhm gmsfzh shfzh sfhm sfz_?no zjno zj_?no",
    ),
    (
        "national_id",
        0.85,
        "ssn social_?security(?:_?(?:no|num|number))? national_?id(?:_?(?:no|num|number))? national_?insurance(?:_?(?:no|number))? nino sin_?(?:no|number) nric hkid(?:_?no)? tax_?payer_?(?:id|no|number) tin personnummer curp cpf rfc dni bsn nif aadhaar aadhar pan_?card codice_?fiscale fiscal_?code steuer_?(?:id|nr|nummer) sozialversicherungsnummer pesel my_?number",
    ),
    (
        "passport",
        0.9,
        "passport(?:_?(?:no|num|number|nbr|id))? pass_?port_?no hzhm hzh huzhao(?:hao|haoma|hm|h)? reisepass(?:nummer|nr)? pasaporte pp_?no",
    ),
    (
        "permit",
        0.85,
        "driver_?(?:s_)?licen[cs]e(?:_?(?:no|num|number))? driving_?licen[cs]e(?:_?(?:no|num|number))? dl_?(?:no|number) permit_?(?:no|num|number) travel_?permit(?:_?(?:no|number))? residence_?permit(?:_?(?:no|number))? visa_?(?:no|number) txz(?:h|hm)? jsz(?:h|hm)? jiashizheng(?:hao|h|haoma)? gatxz tbz(?:h|hm)? hxz(?:h|hm)? gangaotxz jgz(?:h|hm)? junguanzheng(?:hao)? hkb(?:h)? military_?id",
    ),
    (
        "phone",
        0.9,
        "phone(?:_?(?:no|num|number|nbr|nr))? telephone(?:_?(?:no|num|number))? tel(?:_?(?:no|num|number|nbr))? mobile(?:_?(?:no|num|number|nbr|phone|phone_no))? mob(?:_?(?:no|num))? cell(?:_?(?:phone|no|num|number))? cellphone msisdn phoneno telno mobileno fax(?:_?(?:no|num|number))? landline home_?phone work_?phone contact_?(?:no|num|number|phone|tel|mobile) telefon(?:nummer)? handy(?:nummer)? telefono movil portable telephone_fixe hp_?no whatsapp(?:_?(?:no|number))? phone_?e164 hand_?phone",
    ),
    (
        "phone",
        0.9,
        "(?:[a-z]{1,6}_?)?(?:sjh|sjhm|lxdh|yddh|dhhm|sjhaoma|lxfs|gddh|bgdh|jtdh|zzdh|zjdh) shouji(?:hao|haoma|hm|h)? dianhua(?:haoma|hm)? lianxidianhua lianxifangshi yidongdianhua guhua gdhm czhm chuanzhen(?:hao)? (?:kh|yh|lxr|yg|hy|sjr|shr|jkr|fr|dbr|jjlxr|hz|ry|xs|zz|dw|gs|jt|bg)_?(?:dh|sj)",
    ),
    ("phone", 0.6, "dh sj"),
    (
        "email",
        0.95,
        "e_?mail(?:_?(?:addr|address|id|adr))? mail_?(?:addr|address|box)? mailbox emailaddr e_?post(?:adresse)? correo(?:_electronico)? courriel mel (?:[a-z]{1,4}_?)?dzyx dzyj youxiang(?:dizhi)? yx_?(?:dz)? dianziyou(?:xiang|jian)",
    ),
    ("email", 0.6, "mail yx"),
    (
        "address",
        0.85,
        "addr(?:ess)?(?:_?(?:line|ln|l))?(?:_?\\d)? (?:home|mail(?:ing)?|postal|post|street|residential|residence|res|billing|bill(?:_to)?|ship(?:ping)?(?:_to)?|delivery|contact|work|office|permanent|perm|current|cur|registered|reg|living|domicile|company|full|detail(?:ed)?|receiver|recipient|cust(?:omer)?|correspondence)_?addr(?:ess)?(?:_?(?:line|ln|l)?_?\\d)? street(?:_?(?:name|address|line|no|number))? strasse domicile residence adresse direccion indirizzo endereco hausnummer apartment address_?detail abode",
    ),
    (
        "address",
        0.85,
        "(?:[a-z]{1,4}_?)?(?:txdz|jtdz|jtzz|lxdz|hjdz|xxdz|zzdz|shdz|sjdz|bgdz|jzdz|czdz|xjdz|dwdz|zcdz|khdz|yhdz) (?:[a-z]{2,10})?dizhi (?:jiating)?zhuzhi zhuzhi huji(?:dizhi|di)? jtzhuzhi xxdizhi",
    ),
    ("address", 0.6, "dz zz jg_dz hjszd hkszd birth_?place place_?of_?birth jiguan"),
    (
        "birthday",
        0.95,
        "birth(?:_?(?:day|date|dt|dte|d))? birthdate date_?of_?birth dob d_?o_?b bdate bday b_?day born(?:_?(?:on|date|dt))? birth_?(?:year_month|ymd) geburtsdatum geburtstag geb_?dat(?:um)? date_?naissance fecha_?nac(?:imiento)? nascimento data_?nascita",
    ),
    ("birthday", 0.95, "(?:[a-z]{1,4}_?)?(?:csrq|csny|csnyr) chusheng(?:riqi|nianyue|rq|nianyueri)? shengri"),
    ("birthday", 0.5, "sr birth_?year yob"),
    (
        "social",
        0.8,
        "wechat(?:_?(?:id|no|account|openid|unionid))? weixin(?:_?(?:hao|id))? wx_?(?:id|hao|no|account)? wxh qq(?:_?(?:no|num|number|hao|id))? weibo(?:_?id)? open_?id union_?id skype(?:_?id)? telegram(?:_?id)? twitter(?:_?handle)? facebook_?id linkedin alipay_?(?:id|account|no) zfb(?:zh)? line_?id",
    ),
    (
        "card_no",
        0.9,
        "(?:credit|debit|bank|payment|pay)_?card(?:_?(?:no|num|number|nbr|id|code))? card_?(?:no|num|number|nbr) cardno cardnum cc_?(?:no|num|number) ccn primary_?account_?number pan(?:_?(?:no|number|full))? card_?pan acct_?card_?no kreditkarten?(?:nummer|nr)",
    ),
    (
        "card_no",
        0.85,
        "(?:[a-z]{1,4}_?)?(?:yhkh|yhkhm|yhk|xykh|jjkh|xyk|jjk) yinhangka(?:hao|haoma|h)? xinyongka(?:hao|h)? kahao yhkahao",
    ),
    ("card_no", 0.45, "kh khm"),
    (
        "card_expiry",
        0.8,
        "(?:card_)?exp(?:iry|iration|ire|ires)?_?(?:date|dt|mm_?yy|yymm|ym|month|year)? valid_?thru valid_?(?:to|until)_?card expiry card_?valid(?:ity)?(?:_?(?:date|thru))? kyxq yxq_?k",
    ),
    (
        "cvv",
        0.95,
        "cvv(?:_?2)?(?:_?(?:no|code|num))? cvc(?:_?2)?(?:_?code)? cvn(?:_?2)? card_?verif(?:ication)?_?(?:code|value|no|num|number)? card_?security_?code csc cid_?code security_?code_?card avn",
    ),
    (
        "pin",
        0.85,
        "pin(?:_?(?:code|no|num|number|block|blk|hash|enc|encrypted|offset|digest))? atm_?pin card_?pin pinblk trade_?pin pay_?pin tx_?pin",
    ),
    (
        "track",
        0.9,
        "track_?[12]?_?(?:data|1|2|3|i|ii) mag_?stripe(?:_?data)? magstripe cidao(?:xinxi)? chip_?data emv_?data track_?(?:one|two)",
    ),
    (
        "account",
        0.85,
        "(?:bank_?|settle(?:ment)?_?|payee_?|payer_?|peer_?|opp(?:onent)?_?|counterparty_?|cpty_?|from_?|to_?|src_?|dst_?|dest_?|source_?|target_?|debit_?|credit_?|dr_?|cr_?|loan_?|saving(?:s)?_?|repay(?:ment)?_?|deposit_?|bene(?:ficiary)?_?|in_?|out_?|our_?|salary_?)?(?:account|acct|acc|acnt|a_?c|ac)_?(?:no|num|number|nbr|nr|code) bank_?(?:account|acct|acc)(?:_?id)? (?:peer|opp(?:onent)?|counterparty|payee|payer|from|to|debit|credit|repay|settle)_?(?:account|acct) acctno accno accountno acctnum kontonummer konto_?nr bban ban_?no routing_?account clabe",
    ),
    (
        "account",
        0.8,
        "yhzh zhanghao yinhangzhanghao (?:sk|fk|df|dfzh|hk|ck|dk|js|kh|jk|dg|gz|ghk|skr|fkr|jy|zc|zr|qtzh)_?(?:zh|zhanghao) (?:skzh|fkzh|dfzh|hkzh|ckzh|dkzh|jszh|khzh|gzzh|zczh|zrzh|skrzh|fkrzh|jyzh|hkzhh|zhh|zhhm) zhanghu(?:hao|haoma|hm|h)? gjjzh sbzh gongjijinzhanghao social_?insurance_?(?:no|number)",
    ),
    ("account", 0.55, "zh account acct konto"),
    ("iban", 0.95, "iban(?:_?(?:no|num|number|code))? international_?bank_?account(?:_?(?:no|number))?"),
    (
        "uscc",
        0.9,
        "uscc(?:_?(?:no|code))? unified_?(?:social_?)?credit_?(?:code|no|id) social_?credit_?(?:code|no) credit_?code tyshxydm shxydm tyxydm xydm tongyishehuixinyongdaima biz_?licen[cs]e_?(?:no|num|number) business_?licen[cs]e_?(?:no|num|number) license_?no_?biz yyzz(?:h|hm|bh)? nsrsbh nsrsbm zzjgdm shuihao tax_?reg(?:istration)?_?(?:no|number|code) sh_?dm",
    ),
    (
        "balance",
        0.85,
        "(?:[a-z]{2,10}_)*(?:balance|bal|blnc) (?:[a-z]{1,8})?balance(?:_?(?:amt|amount))? credit_?(?:limit|line) overdraft(?:_?limit)? net_?worth total_?assets? (?:aum|holdings?_?(?:value|amt)) zhye dqye kyye zhangye yue (?:zh|ck|dk|zhhu|ky|dj|qc|qm|bq|sq)_?ye sxed xyed syed edu zichan(?:zonge)? zzc jzc ckye dkye market_?value",
    ),
    ("balance", 0.75, "ye"),
    (
        "salary",
        0.9,
        "salary(?:_?(?:amt|amount|base|grade_amt))? salaries wage(?:s|_?(?:amt|amount))? (?:annual|monthly|yearly|month|year|gross|net|household|family|disposable|personal|base|total|taxable)_?(?:income|salary|pay|wage|earnings) income(?:_?(?:amt|amount))? earnings bonus(?:_?(?:amt|amount))? compensation remuneration payroll_?(?:amt|amount) take_?home base_?pay gehalt salaire sueldo",
    ),
    (
        "salary",
        0.9,
        "gz gongzi xinchou xinzi xz_?(?:je)? yuexin nianxin (?:n|y|yue|nian|jt|gr)?sr_?je (?:nian|yue|jiating|geren)shouru shouru nsr ysr grsr jtsr jbgz yfgz sfgz gwgz jj_?je jiangjin nianshouru",
    ),
    (
        "amount",
        0.75,
        "(?:txn|tran|trans|transaction|trade|transfer|tx|pay|payment|payout|loan|lend|deposit|dep|withdraw(?:al)?|repay(?:ment)?|principal|remit(?:tance)?|claim|settle(?:ment)?|debit|credit|dr|cr|overdue|disburse(?:ment)?|premium|insured|invest(?:ment)?|redeem|purchase|guarantee|mortgage|limit|cash|debt)_?(?:amt|amount|amnt|sum|value) principal loan_?principal debt_?total outstanding premium_?amt",
    ),
    (
        "amount",
        0.75,
        "(?:jy|dk|ck|hk|zz|fk|sk|zf|jk|cz|tx|bx|bf|lp|yq|qk|qs|js|fs|tz|jkbj|fke)_?(?:je|jine|e) jiaoyijine daikuanjine jiaoyie dked dkbj benjin bxje bf fse fashenge zhuanzhangjine huankuanjine baofei baoe",
    ),
    ("amount", 0.45, "amt amount amnt je jine sum_?amt"),
    (
        "plate",
        0.9,
        "(?:licen[cs]e_?)?plate(?:_?(?:no|num|number|code))? licen[cs]e_?plate(?:_?(?:no|number))? plateno car_?(?:no|num|number|plate) vehicle_?(?:plate|reg(?:istration)?_?(?:no|number)) registration_?plate veh_?no cph cphm chepai(?:hao|haoma|h)? cp_?hm kennzeichen number_?plate hphm haopaihaoma",
    ),
    (
        "vin",
        0.9,
        "vin(?:_?(?:no|num|number|code))? chassis_?(?:no|num|number) frame_?(?:no|num|number) vehicle_?identification_?(?:no|number) cjh clsbdh chejia(?:hao)? clsbm engine_?(?:no|num|number) fdjh",
    ),
    (
        "ip",
        0.85,
        "(?:[a-z]+_)*ip(?:_?(?:addr|address|adr|v_?4|v_?6|from|src|source))?(?:_?(?:address|addr))? ip_?v?_?[46](?:_addr(?:ess)?)? ipaddr(?:ess)? remote_?addr(?:ess)? client_?(?:ip|addr(?:ess)?) peer_?addr(?:ess)? ip_?dz dlip denglu_?ip",
    ),
    (
        "mac",
        0.9,
        "mac(?:_?(?:addr|address|adr|id))? macaddr(?:ess)? hw_?addr(?:ess)? hardware_?addr(?:ess)? ethernet_?addr(?:ess)? mac_?dz wifi_?mac bssid",
    ),
    (
        "device_id",
        0.8,
        "imei(?:_?\\d|_?(?:no|num|number))? imsi iccid meid idfa idfv gaid android_?id oaid device_?(?:id|uuid|udid|imei|identifier|no|sn|fingerprint|token_id) udid advertising_?id ad_?id terminal_?sn phone_?imei sbid shebei_?(?:id|hao)",
    ),
    (
        "location",
        0.8,
        "lat latitude lng lon long longitude geo_?(?:point|location|pos|loc|hash)? gps(?:_?(?:lat|lng|lon|pos|position|location|coord|coordinates|point))? coordinates? coord(?:_?[xy])? last_?(?:location|position) jingdu weidu jd_wd last_?known_?location home_?location track_?points? trajectory guiji",
    ),
    (
        "secret",
        0.9,
        "(?:[a-z]+_)*(?:password|passwd|pwd|pswd|passwort|passphrase|passwrd|psw)(?:_?(?:hash|hashed|digest|enc|encrypted|md_?5|sha(?:_?\\d+)?|salt|crypt|bcrypt|plain|text|value|old|new|prev|history|key))* pass_?(?:hash|phrase|key|code|wd) hashed_?pass(?:word)? (?:[a-z]+_)?mima(?:_?(?:hash|md_?5))? (?:dl|jy|zf|cx|qk|yh|kh|dlu|qm)?_?(?:mm|kl) mimi miyao kouling motdepasse contrasena kennwort",
    ),
    (
        "secret",
        0.85,
        "(?:access|refresh|auth|bearer|session|api|id|csrf|reset|login|remember|push|oauth|jwt|security|secret|verification|sso|user|bot|app|device|activation|confirmation|invite|web_?hook|pay|card)_?tokens? (?:api|secret|private|encryption|encrypt|enc|signing|sign|access|app|master|hmac|aes|rsa|ssh|client|consumer|shared|license|priv|crypto|symmetric)_?(?:key|secret)(?:_?(?:id|value|pem))? (?:client|app|consumer|shared|totp|otp|mfa|webhook|two_?factor|2_?fa|hmac|api|jwt|oauth)_?secret credential credentials apikey appkey appsecret secretkey accesskey privatekey private_?key_?pem otp(?:_?(?:code|seed|key))? totp(?:_?(?:seed|key))? mfa_?(?:seed|key|code) sms_?code verif(?:y|ication)_?code yzm jiaoyanma security_?(?:answer|question_answer) secret_?answer mb_?da backup_?codes? recovery_?codes? cookie session_?(?:key|secret)",
    ),
    ("secret", 0.75, "token secret salt (?:hash|password)_?salt session_?id sid sign_?key pass passcode"),
    (
        "biometric",
        0.85,
        "finger_?prints?(?:_?(?:data|template|image|img|hash))? face_?(?:id|image|img|data|template|feature|features|photo|embedding|vector|token|encoding|url) facial(?:_?(?:data|image|template))? iris(?:_?(?:scan|data|code|template))? retina(?:_?scan)? voice_?print biometrics?(?:_?(?:data|template|hash))? palm_?(?:print|vein) vein_?(?:data|template) signature_?(?:image|img|sample) zhiwen(?:shuju)? renlian(?:tezheng|shuju)? hongmo shengwen rltz zw_?(?:tz|mb|sj) lianbu",
    ),
    (
        "health",
        0.85,
        "diagnos[ie]s(?:_?(?:code|desc|description|name|text))? diag_?(?:code|desc|name|text)? icd(?:_?(?:9|10|11|code|cm))?(?:_?code)? disease(?:s|_?(?:name|code|history|desc))? illness symptoms? allerg(?:y|ies|en|ens)(?:_?desc)? medications? prescriptions? medical_?(?:history|record|condition|conditions|notes?|record_no) treatment(?:_?(?:plan|desc))? lab_?results? test_?results? blood_?(?:type|group|pressure|sugar|glucose) (?:chief_?)?complaint surger(?:y|ies) vaccin(?:e|ation)s? pregnan(?:t|cy)(?:_?status)? disabilit(?:y|ies)(?:_?(?:type|desc|level))? hiv(?:_?status)? bmi heart_?rate present_?illness past_?history family_?history mental_?health condition_?desc health_?(?:status|condition|record|info)",
    ),
    (
        "health",
        0.85,
        "zhenduan(?:jieguo|mingcheng|bianma)? zd_?(?:jg|mc|bm|ms) (?:ry|cy|mz|zy)_?zd ryzd cyzd mzzd jbmc jibing(?:mingcheng|bianma)? jbbm bingshi xbs jws gms guominshi guomin(?:yao)? zhusu zs_?ms bingli(?:hao)? xx_?(?:lx)? xuexing chufang yizhu jianchajieguo jianyanjieguo jcjg jyjg jiankangzhuangkuang jkzk canji(?:leixing|dengji)? shoushu(?:mingcheng)? yaowuguomin tijian(?:jieguo)?",
    ),
    (
        "genetic",
        0.85,
        "genetic(?:_?(?:data|test|marker|profile|result))? genom(?:e|ic)(?:_?data)? genotype dna(?:_?(?:profile|sequence|sample))? snp_?data jiyin(?:shuju)? brca\\d?",
    ),
    (
        "ethnicity",
        0.9,
        "ethnic(?:ity|_?(?:group|origin|code))? race racial_?origin minzu(?:daima)? mz_?(?:dm|mc)? nationality_?ethnic hispanic",
    ),
    (
        "religion",
        0.9,
        "religion(?:_?(?:code|name))? religious_?(?:belief|affiliation|denomination) faith denomination creed church_?membership konfession zongjiao(?:xinyang)? zjxy xinyang belief",
    ),
    (
        "political",
        0.85,
        "political_?(?:status|party|affiliation|opinion|view|views|outlook|orientation) party_?(?:member|membership|affiliation) zzmm zhengzhimianmao dangpai voting_?(?:preference|intention) party_?registration",
    ),
    (
        "union_membership",
        0.85,
        "(?:trade_?)?union_?(?:member|membership|name|affiliation|member_no|member_id)(?:_?(?:no|id|flag|status))? gonghui(?:huiyuan)? labou?r_?union",
    ),
    (
        "sex_life",
        0.85,
        "sexual_?(?:orientation|preference|history|life) orientation_?sexual sex_?life lgbt(?:q)?(?:_?status)? xingquxiang",
    ),
    (
        "criminal",
        0.85,
        "criminal_?(?:record|history|conviction|convictions|offen[cs]e|offen[cs]es|background) convictions? (?:prior_?)?arrests?(?:_?record)? offen[cs]e_?(?:history|record) police_?record weifajilu fanzuijilu wfjl fzjl qianke anzui",
    ),
    (
        "free_text",
        0.3,
        "remark remarks memo comment comments note notes description_?long bz beizhu bzxx zy zhaiyao fuyan memo_?text message content body feedback",
    ),
    ("profile", 0.3, "profile ext ext_?info extra extra_?info attributes attrs payload personal_?info customer_?info"),
)

PARTS: tuple[tuple[str, float, str], ...] = (
    (
        "name",
        0.85,
        "fullname|realname|firstname|lastname|surname|givenname|familyname|(?:customer|client|patient|student|employee|contact|holder|receiver|consignee|payee|borrower|beneficiary|guarantor|passenger)name|xingming",
    ),
    ("id_card", 0.85, "idcard|identitycard|identityno|identitynumber|shenfenzheng|zhengjianhao"),
    ("passport", 0.85, "passportno|passportnum|huzhaohao"),
    (
        "phone",
        0.85,
        "phonenum|phoneno|mobilephone|mobileno|mobilenum|telephone|cellphone|telno|shoujihao|lianxidianhua|dianhuahaoma",
    ),
    ("email", 0.9, "emailaddr|e?mailaddress|youxiang|dianziyoujian"),
    (
        "address",
        0.8,
        "homeaddr|mailaddr|streetaddr|postaladdr|contactaddr|billingaddr|shippingaddr|jiatingzhuzhi|jiatingdizhi|tongxundizhi|lianxidizhi|xiangxidizhi|hujidizhi|shouhuodizhi",
    ),
    ("birthday", 0.9, "birthda[yt]e?|dateofbirth|chushengriqi|chushengnianyue"),
    ("card_no", 0.85, "creditcardn|bankcardn|debitcardn|cardnumber|cardnum|yinhangka|xinyongkahao|kakahao"),
    ("account", 0.8, "bankaccount|accountnumber|accountno|acctnumber|acctno|yinhangzhang|zhanghaohao"),
    ("uscc", 0.85, "creditcode|tongyishehuixinyong|xinyongdaima"),
    ("salary", 0.85, "annualincome|monthlyincome|monthlysalary|annualsalary|basesalary"),
    (
        "secret",
        0.9,
        "passw(?:or)?d|passphrase|secretkey|privatekey|apikey|accesstoken|refreshtoken|authtoken|denglumima|zhifumima|jiaoyimima",
    ),
    ("plate", 0.85, "licenseplate|licenceplate|platenumber|chepaihao"),
    ("balance", 0.8, "accountbalance|availablebalance|creditlimit|zhanghuyue"),
)

HAN: tuple[tuple[str, float, str], ...] = (
    (
        "name",
        0.9,
        "姓名|真实姓名|户名|姓氏|曾用名|持卡人|借款人|担保人|法定代表人|法人代表|收款人|付款人|受益人|投保人|被保险人|紧急联系人|监护人|收货人|收件人|寄件人|联系人|经办人|代理人|客户名|用户姓名|申请人|当事人|主治医生|主治医师|负责人",
    ),
    ("name", 0.6, "客户名称|账户名称|医生|经理|操作员|配偶|家长|名字|法人"),
    ("id_card", 0.9, "身份证|证件号|身份号码|公民身份|居民身份"),
    ("national_id", 0.8, "社会保障号|社保号|个人税号|社会安全号"),
    ("passport", 0.9, "护照"),
    ("permit", 0.85, "通行证|驾驶证|驾照|台胞证|回乡证|居留证|军官证|居住证|港澳证"),
    ("phone", 0.9, "手机|电话|联系方式|移动电话|固话|座机|传真|联系号码"),
    ("email", 0.9, "邮箱|电子邮件|邮件地址|电邮|e-?mail"),
    ("address", 0.9, "住址|地址|居住地|户籍|详细地址|通讯处|籍贯|户口所在地"),
    ("birthday", 0.95, "出生|生日|生辰"),
    ("social", 0.8, "微信|QQ|微博|支付宝账|社交账号"),
    ("card_no", 0.9, "银行卡|信用卡号|借记卡号|卡号|储蓄卡"),
    ("card_expiry", 0.8, "卡有效期|卡片有效期"),
    ("cvv", 0.95, "安全码|校验码CVV|CVV|CVN|卡验证码|背面三位"),
    ("pin", 0.85, "个人识别码"),
    ("track", 0.9, "磁道|磁条"),
    ("account", 0.85, "账号|帐号|账户号|帐户号|银行账户|银行帐户|结算账户"),
    ("uscc", 0.9, "信用代码|纳税人识别号|组织机构代码|营业执照号|税号|营业执照编号"),
    ("balance", 0.85, "余额|授信额度|信用额度|总资产|净资产|可用额度"),
    ("salary", 0.9, "工资|薪资|薪酬|薪水|收入|年薪|月薪|奖金"),
    ("amount", 0.75, "交易金额|贷款金额|还款金额|转账金额|支付金额|存款金额|发生额|本金|保费|保额|理赔金额|借款金额|放款金额"),
    ("amount", 0.45, "金额"),
    ("plate", 0.9, "车牌|号牌号码"),
    ("vin", 0.9, "车架号|车辆识别|发动机号"),
    ("ip", 0.85, "IP地址|ip地址|登录IP|登录ip"),
    ("mac", 0.9, "MAC地址|mac地址|物理地址"),
    ("device_id", 0.8, "设备标识|设备号|设备ID|IMEI|设备指纹"),
    ("location", 0.8, "经度|纬度|定位|行踪|轨迹|坐标"),
    ("secret", 0.9, "密码|口令|密钥|令牌|私钥|验证码|密保"),
    ("biometric", 0.85, "指纹|人脸|虹膜|声纹|生物特征|掌纹|面部"),
    ("health", 0.85, "诊断|疾病|病史|病情|过敏|症状|血型|处方|医嘱|主诉|检查结果|检验结果|健康状况|残疾|病历|手术|体检"),
    ("genetic", 0.85, "基因|遗传"),
    ("ethnicity", 0.9, "民族|种族"),
    ("religion", 0.9, "宗教|信仰"),
    ("political", 0.85, "政治面貌|党派"),
    ("union_membership", 0.85, "工会会员"),
    ("sex_life", 0.85, "性取向|性生活"),
    ("criminal", 0.85, "犯罪记录|违法记录|前科|案底"),
    ("free_text", 0.3, "备注|附言|摘要|留言|说明"),
)

NEUTRAL_AFTER = frozenset(
    "no num number nbr nr value val text txt str string raw enc encrypted cipher ciphertext plain orig original old new cur current line l full primary main home work office "
    "cell en cn zh eng chn py hm h hao haoma haom info information first second third a b c x y z clean std fmt masked std1 of the res alt alternative secondary backup "
    "bak tmp temp field fld col column data local display e164 norm normalized id1 id2 jm mw".split()
)
"""Words behind the notion that change nothing."""
OTHER_AFTER = frozenset(
    "type types kind kinds count cnt counts status state flag verified valid enabled confirmed model brand version format provider carrier operator length len level template "
    "policy rule reason at on time ts timestamp updated created category lx leixing zl zt bz bzw sj_ cs sl id ids uid guid code bin prefix suffix mask limit attempts attempt "
    "retry retries expired expires expiry expire changed change name_id seq order sort idx index url uri link path file image img photo required optional visible hint label title placeholder "
    "currency ccy rate ratio percent pct score rank grade group tag tags set source src channel lang language lookup ref book city zone region area country province district postcode zip "
    "zipcode domain server port host bounce bounced opened sent subject quality match method mode days hours minutes min max avg total sum size width attr desc description date dt dtime rq "
    "dm bh lb xh pp jb yxq sx kind_code issuer issued issue category_id scheme network product cost fee bin_range layout interval window tz used usage".split()
)
"""Words behind the notion after which the column is about something else: phone_type, email_verified, address_id."""
BEFORE_OTHER = frozenset(
    "is has have had can allow enable enabled need needs require requires use uses send sent verify verified show hide num_of count cnt no_of total_number should was sf shifou max min avg default".split()
)
"""Words before the notion that make it a flag or a count."""
OTHER_HAN = "类型|种类|类别|状态|标志|标识位|是否|次数|数量|个数|时间|型号|品牌|等级|编码规则|长度|归属地|运营商|有效性|方式代码|名称代码|版本|模板|顺序|签发机关|发证机关|有效期$|到期日|开户行|序号|验证状态|颜色"
"""In a Chinese name, after which it is about something else."""
NOT_BIRTHS = frozenset(
    "hire hired join joined entry start begin end open opened close closed issue issued effective expiry create created update updated register registered reg founded established establish "
    "incorporation found order ship paid pay txn trade due settle valid login build built made production launch release publish published admitted admit leave visit rzrq ruzhi rz khrq xhrq clrq chengli "
    "zcrq djrq lrrq gxrq cjrq jyrq qyrq dqrq fzrq graduat graduation grad biye byrq enroll ruxue certified licensed commission approv sign signed sgrq".split()
)
"""Words with which a column of old dates is not one of births."""
