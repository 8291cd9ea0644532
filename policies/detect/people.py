"""What a person's name looks like: Chinese by surname and given name, Latin by its form and common names, and both together.

A single value proves little (the surname 黄 begins 黄金 too), so the answers here are marks that `summary` counts over a column.
"""

from __future__ import annotations

import re

_SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖萧田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊"
    "秦邱江尹薛闫阎段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童"
    "凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳欧管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应"
    "臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝官封谈匡鞠惠荆乐冀郁胥南班储原栗燕楚鄢劳谌奚皮粟冼蔺楼盘满闻位厉伊仝区郜海阚花权强"
    "帅屠豆朴盖练廉禹井祖漆巴丰支卿国狄平计索宣晋相初门云容敬来扈晁芮都普阙浦戈伏鹿薄邸雍辜羊阿乌母裘亓修邰赫杭况那宿鲜印逯隆茹诺战慕危玉银亢嵇公哈湛宾戎勾茅利"
    "於呼居揭干但尉冶斯元束檀衣信展阴昝智幸奉植衡富尧闭由笪闻人买续缑荀郇"
)
_DOUBLE = frozenset(
    "欧阳 司马 上官 诸葛 夏侯 皇甫 东方 尉迟 公孙 慕容 令狐 司徒 长孙 宇文 端木 南宫 独孤 西门 百里 呼延 轩辕 司空 闾丘 东郭 欧侯 澹台 公冶 太史 申屠".split()
)
_COMMON_SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾萧肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪"
)
_GIVEN = frozenset(
    "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂红玉玲芬燕萍华梅珍建国志文斌海波鹏飞晓东立新春辉俊凯龙峰亮健宁云莉丹雪琳婷慧颖欣怡佳嘉子涵宇轩浩然思雨晨梓萱博"
    "成家豪诺若曦倩淑帅旭阳颜振瑞琴凤荣珊瑜瑶璐璇妍淼萌蕾薇菲菁莹洁晶晴岚岩松林森楠桐桦柏义礼智信德仁忠孝诚良善清廷永长庆福贵祥兴旺发财生彬彤媛媚嫣娇娥婵婉小大正光"
    "世宏洪鸿维卫伦琪琦璟瑾钰锐钧铭锋镇雄雅雯霖露静韵馨香奕毅翔翰耀胜利民康宗元亨宝树根全才学金银水土火木安心乐天地人和美好爱莲菊竹蓉茜荷莎苗艺芝芸苑一二三四五六七八九十"
    "中书冰凌凡传伯仲叔季兵冬勋千升南卉厚友同君含启哲唐喜坤培墨士夏多奇姗如妮威娴存孟守宜宣寒寅尔尚展山岳川巧常广开弘彦彩影征心怀恒恩悦惠意愉慈成承抒捷敬斐方旋昊昌昕昱景智月朗朝本来柔柳"
    "栋梦楚欢歌武毓江沛沁沐沛泓泽浩润淇淳渊湘溪滢澄澜灿炎炜炫烁烨焕煜熙燊爽牧玮玥玫珂珺珠球理琛琼瑛璞甜田男画畅登益盈盛真睿知石硕祺禾秋程穆立童笑筠素红纯纳绍维绪继续罗翠联聪胤自舒良芃"
    "苒英茂茵范莺菡葵蓓蓝薪虎虹蝶衡裕西言诗语谦谷豆贝贤赫超越跃路轶辰达远逸郁采里重野铁铃锦长门闻阔陈随隽霄青非音顺顾风香驰高鸣鹤鹏麒麟黎龄俪峻嵘怜桃艳"
)
"""Characters that given names are made of."""
_NEVER = frozenset(
    "部店厂司行省市县区镇乡村路街道号楼室组科局院校所站处课班队社团卡款贷费税价类型种级币元角分个台套件箱包瓶盒袋杯碗盘茶酒油米面粉肉菜果糕饼糖汤圆药膏片剂丸机器电视脑网"
    "站页版本表单据证票券码色布衣裤鞋帽巾被床桌椅柜灯笔纸书刊报车船具械泵阀管线缆板材料工程业务产品项目系统平台服饰季年月日时期常正异冻结未已否是无有等待"
)
"""Characters that are hardly ever the last of a name; some begin one."""
_END_ONLY = frozenset("行云路方石成宁安平和")
_ZH = re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]{2,4}")
_ZH_FOREIGN = re.compile(r"[\u4e00-\u9fff]{1,8}(?:[·•・．.][\u4e00-\u9fff]{1,8}){1,3}")
_TITLES = re.compile(r"^(?:mr|mrs|ms|miss|dr|prof|herr|frau|dipl|ing|mme|univ|sr|sra|sig|ir|mag)\b\.?[\s-]*", re.IGNORECASE)
_SUFFIXES = re.compile(
    r",?\s+(?:jr|sr|md|dds|phd|dvm|esq|ii|iii|iv|b\.?a\.?|b\.?sc\.?|m\.?sc\.?|mba\.?|b\.?eng\.?)\.?$", re.IGNORECASE
)
_WORD = re.compile(r"(?:[^\W\d_]['’]?)+(?:-[^\W\d_]+['’]?[^\W\d_]*)*\.?")
_PARTICLES = frozenset("de da di del della van von der den zu bin al el la le du dos das y e ter af av".split())
_BOTH = re.compile(r"([\u4e00-\u9fff·]{2,8})\s*[(（/,，]?\s*([A-Za-z][A-Za-z .,'-]{2,40})[)）]?")

_FIRST_NAMES = frozenset(
    """
aaron abigail adam adrian agnes aidan alan albert alejandro alessandro alex alexander alexandra alexis alfred ali alice alicia alina
alison allison alyssa amanda amber amelia amy ana andrea andreas andrew andy angel angela anita ann anna anne annette annie anthony
antje antoine antonio april ariana armin arthur ashley astrid audrey aurelie austin ava barbara beate beatrice becky ben benjamin
bernard bernd bernhard beth betty beverly bianca bill billy birgit bob bobby bonnie brad bradley brandi brandon brenda brent brett brian
bridget brittany brooke bruce bryan caitlin caleb cameron camille carl carla carlos carmen carol caroline carolyn carrie casey
catherine cathy cecile chad charlene charles charlie charlotte chelsea cheryl chloe chris christa christian christiane christina
christine christoph christophe christopher christy cindy claire clara claudia clayton clemens clifford clinton cody colin connie
connor corey cory courtney craig cristian cristina crystal curtis cynthia dale dalton damon dan dana daniel daniela danielle danny
darlene darrell darren david dawn dean deanna debbie deborah debra denise dennis derek derrick desiree destiny devin devon diana diane
diego dieter dominic dominique don donald donna doris dorothy douglas dustin dylan earl eddie edgar eduardo edward edwin elaine elena
elias elizabeth elisabeth ella ellen emil emilie emily emma emmanuel eric erica erik erika erin ernest ethan eugene eva evan evelyn
fabian faith felicia felix fernando florian frances francesca francesco francis francisco francois frank franz fred frederic frederick
friedrich gabriel gabriela gabriella gabrielle gail garrett gary gavin geoffrey george gerald gerard gerhard gertrud gilbert gina giorgio
giovanni giulia giuseppe glen glenn gloria grace grant greg gregory guillaume guy hailey haley hanna hannah hans harald harold harry heather hector
heidi heike heinrich heinz helen helena helga henri henry herbert hermann holger holly horst howard hugo ian ines ingrid irene iris
isaac isabel isabella isabelle ivan jack jackie jackson jaclyn jacob jacqueline jacques jaime jake james jamie jan jana jane janet
janice jared jasmin jasmine jason javier jay jean jeanette jeanne jeff jeffery jeffrey jenna jennifer jenny jeremiah jeremy jerome jerry jesse
jessica jesus jill jim jimmy joan joanna joanne joe joel johann johanna johannes john johnathan johnny jon jonas jonathan jonathon
jordan jorge jorg jose josef joseph joshua joy joyce juan juanita judith judy julia julian julie julien jurgen justin kaitlin kaitlyn
kara karen kari karin karina karl karla karolin katelyn katharina katherine kathleen kathryn kathy katie katja katrina kayla keith
kelli kellie kelly kelsey ken kendra kenneth kerry kevin kim kimberly klaus konrad krista kristen kristi kristin kristina kristine
kristy krystal kurt kyle lacey lance larry lars latoya laura lauren laurence laurent laurie lawrence leah lee lena leo leon leonard
leonie leroy leslie lewis liam lily linda lindsay lindsey lisa logan loretta lori lorraine louis louise lucas lucia lucie ludwig luis luisa lukas luke
lydia lynn mackenzie madeleine madison maik malik mandy manfred manuel manuela marc marcel marco marcus margaret margarete margot maria mariah
marianne marie mario marion marissa mark markus marlene martha martin martina marvin mary mathew mathias mathieu matteo matthew matthias maureen maurice max maxime
maximilian megan meghan melanie melinda melissa melvin mercedes meredith mia micha michael michaela micheal micheel michel michele michelle miguel
mike mikayla milan mindy mirko misty mitchell mohamed mohammed molly monica monika monique morgan nancy natalia natalie natasha nathan
nathaniel nicholas nichole nicolas nicole nikolaus nina noah norbert norma norman oliver olga olivia oscar otto pablo paige pamela paola paolo pascal pat
patricia patrick patty paul paula paulette pauline pedro peggy penny peter petra philip philipp philippe phillip phyllis pierre rachael
rachel rafael raimund rainer ralf ralph ramon randall randy raymond rebecca regina reinhard reinhold renate rene renee reginald rhonda
ricardo richard rick ricky rita robert roberta roberto robin rodney roger roland rolf roman ronald ronnie rosa rosalie rose rosemarie
ross roy ruben rudolf rudolph russell ruth ryan sabine sabrina sally sam samantha samuel sandra sandy sara sarah savannah scott sean
sebastian sergio seth shane shannon sharon shaun shawn sheila shelby shelly sherri sherry shirley sierra silke silvia simon simone sofia
sonia sonja sonya sophia sophie spencer stacey stacie stacy stefan stefanie stephan stephanie stephen steve steven stuart sue summer
susan susanne suzanne sven sydney sylvia sylvie tabitha tamara tammy tanja tanner tanya tara tasha taylor ted terence teresa terri
terry theodore theresa therese thibault thierry thomas tiffany tim timothy tina tobias toby todd tom tommy toni tony tonya torsten
tracey traci tracie tracy travis tricia tristan troy tyler tyrone udo ulrich ulrike ursula uta uwe valentin valentina valerie vanessa
vera vernon veronica veronika veronique vicki vicky victor victoria vincent virginia virginie vivian volker waldemar walter wanda
wayne wendy werner wesley wilhelm william willie winfried wolfgang yolanda yvette yvonne zachary zacharie zoe
""".split()
)
_LAST_NAMES = frozenset(
    """
adams aguilar alexander allen alvarez anderson andrews armstrong arnold austin bailey baker barnes barnett bauer becker bell bennett berger
bernard bertrand black blanc bonnet boyd bradley brooks brown bryant burke burns butler byrd campbell carlson carpenter carr carroll
carter castillo castro chambers chan chang chapman chavez chen clark clarke cohen cole coleman collins cook cooper cox craig crawford cruz
cunningham daniels davidson davies davis day dean delgado diaz dixon dubois duncan dunn durand edwards elliott ellis evans ferguson fernandez
ferrari fields fischer fisher fleming fletcher flores ford foster fournier fowler fox franklin frazier freeman fuchs fuller garcia gardner garrett
garza george gibbs gibson gilbert girard gomez gonzales gonzalez gordon graham grant gray green greene griffin gross gutierrez guzman hall
hamilton hansen hanson harper harris harrison hart hartmann harvey hawkins hayes henderson henry hernandez herrera hicks hill hoffman hoffmann
holland holmes howard hudson hughes hunt hunter jackson jacobs james jenkins jensen jimenez johnson johnston jones jordan kaiser keller kelley
kelly kennedy khan kim king klein knight koch kraus kruger lambert lane larson lawrence lawson le lee lefebvre leroy lewis little long
lopez lynch maldonado marshall martin martinez mason matthews may mcdonald medina meier mendez mendoza mercier meyer miller mills mitchell
montgomery moore morales moreau moreno morgan morris morrison muller murphy murray myers nelson neumann newman nguyen nichols obrien oliver
olson ortega ortiz owens palmer park parker patel patterson payne pena perez perkins perry peters peterson petit phillips pierce porter
powell powers price ramirez ramos ray reed reid reyes reynolds rhodes rice richard richards richardson richter riley rivera robert roberts
robertson robinson rodriguez rogers romero rose ross rossi roth rousseau roux ruiz russell russo ryan salazar sanchez sanders sandoval santos schmidt
schmitz schneider schroder schulz schulze schwarz scott shaw simmons simon simpson sims singh smith snyder soto spencer stephens stevens
stewart stone sullivan tanaka taylor terry thomas thompson torres tran tucker turner valdez vargas vasquez vazquez wagner walker
wallace walsh walter wang ward warren washington watkins watson weaver webb weber wells west wheeler white williams williamson willis
wilson winkler wolf wong wood woods wright wu yang young zhang zimmermann muller novak kowalski ivanov petrov silva pereira
""".split()
)
_NOT_NAMES = frozenset(
    """
ltd limited inc corp corporation gmbh ag sa sas sarl bv llc plc co company group bank branch office department dept division team
card account saver loan credit phone case lamp desk chair bottle mug scarf pen table street road avenue lane city state county list detail admin report
query user role daily order menu item product service services holding holdings partners industries systems solutions software hotel hospital
school university club store shop market center centre test unknown none null default type status new old the of and for with house
harbour room winter summer premium basic standard gold silver platinum plus pro mini max kit set box pack bag book system manager
""".split()
)
_PINYIN_SURNAMES = frozenset(
    """
wang li zhang liu chen yang huang zhao wu zhou xu sun ma zhu hu guo he gao lin luo zheng liang xie song tang han feng deng cao peng zeng xiao tian
dong yuan pan yu jiang cai du ye cheng su wei lv lu ding ren shen yao cui zhong tan fan jin shi liao jia xia fu fang bai zou meng xiong qin qiu
yin xue yan duan lei hou long tao he gu mao hao gong shao wan qian dai mo kong xiang ouyang sima zhuge shangguan
""".split()
)
_SYLLABLE = r"(?:[zcs]h?|[bpmfdtnlgkhjqxryw])?(?:iang|iong|uang|ang|eng|ing|ong|ian|iao|uai|uan|ian|an|en|in|un|ai|ei|ui|ao|ou|iu|ie|ue|er|ia|ua|uo|a|o|e|i|u|v)"
_PINYIN_GIVEN = re.compile(rf"(?:{_SYLLABLE}){{1,3}}")


def chinese_name(text: str) -> bool:
    """Two to four Chinese characters that begin with a surname and do not end like a thing or a place; or a foreign name with dots."""
    if _ZH_FOREIGN.fullmatch(text):
        return True
    if not _ZH.fullmatch(text):
        return False
    if text[:2] in _DOUBLE:
        return len(text) > 2
    if text[0] not in _SURNAMES or len(text) > 3:
        return False
    return not any(c in _NEVER and c not in _END_ONLY for c in text[1:])


def chinese_given(text: str) -> bool:
    """The last character is one that given names use."""
    return text[-1] in _GIVEN and text[-1] not in _NEVER


def chinese_common(text: str) -> bool:
    """One of the surnames that most people have."""
    return text[0] in _COMMON_SURNAMES or text[:2] in _DOUBLE


def latin_words(text: str) -> list[str]:
    """The words of a name in Latin script, or nothing when it has not the form of one."""
    bare = _SUFFIXES.sub("", text)
    for _ in range(3):
        bare = _TITLES.sub("", bare)
    words = [w for w in re.split(r"[\s,]+", bare) if w]
    if not 1 <= len(words) <= 5 or not all(_WORD.fullmatch(w) for w in words) or any(ord(c) > 0x24F for c in bare):
        return []
    capitals = [w for w in words if w.lower() not in _PARTICLES]
    if not capitals or any(w[0].islower() for w in capitals) or any(w.lower().rstrip(".") in _NOT_NAMES for w in capitals):
        return []
    return [w.rstrip(".") for w in capitals]


def latin_known(words: list[str]) -> bool:
    """One of the words is a common first or last name, or the whole is a Chinese name in pinyin."""
    parts = [p for w in words for p in re.split(r"[-'’]", _plain(w)) if p]
    return any(p in _FIRST_NAMES or p in _LAST_NAMES for p in parts) or pinyin_name(words)


def pinyin_name(words: list[str]) -> bool:
    lower = [w.lower() for w in words]
    if not 2 <= len(lower) <= 3:
        return False
    for surname, given in ((lower[0], lower[1:]), (lower[-1], lower[:-1])):
        if surname in _PINYIN_SURNAMES and _PINYIN_GIVEN.fullmatch("".join(given).replace("-", "")):
            return True
    return False


def bilingual(text: str) -> bool:
    """A Chinese name with the same in Latin letters beside it: 张伟 (Zhang Wei)."""
    found = _BOTH.fullmatch(text)
    return found is not None and chinese_name(found[1]) and bool(latin_words(found[2].strip()))


def _plain(word: str) -> str:
    table = str.maketrans("äöüéèêëáàâãåíìîïóòôõúùûçñøæ", "aoueeeeaaaaaiiiioooouuucnoa")
    return word.lower().replace("ß", "ss").translate(table)
