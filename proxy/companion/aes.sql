CREATE OR REPLACE FUNCTION pgveil.cbc_mac(k pgveil.key, data bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE                                                     -- AES-256 with tables; see aes.py
  sbox CONSTANT int8[] := '{{sbox}}';
  t0 CONSTANT int8[] := '{{t0}}';
  t1 CONSTANT int8[] := '{{t1}}';
  t2 CONSTANT int8[] := '{{t2}}';
  t3 CONSTANT int8[] := '{{t3}}';
  rk CONSTANT int8[] := k.schedule;
  hex CONSTANT text := encode(data, 'hex');
  rounds CONSTANT int := cardinality(rk) / 4 - 1;
  s0 int8 := 0; s1 int8 := 0; s2 int8 := 0; s3 int8 := 0;
  n0 int8; n1 int8; n2 int8; n3 int8;
BEGIN
  FOR at IN 0 .. length(data) / 16 - 1 LOOP
    s0 := s0 # rk[1] # ('x' || substr(hex, at * 32 + 1, 8))::bit(32)::int8;
    s1 := s1 # rk[2] # ('x' || substr(hex, at * 32 + 9, 8))::bit(32)::int8;
    s2 := s2 # rk[3] # ('x' || substr(hex, at * 32 + 17, 8))::bit(32)::int8;
    s3 := s3 # rk[4] # ('x' || substr(hex, at * 32 + 25, 8))::bit(32)::int8;
    FOR r IN 1 .. rounds - 1 LOOP
      n0 := t0[1 + (s0 >> 24)] # t1[1 + ((s1 >> 16) & 255)] # t2[1 + ((s2 >> 8) & 255)] # t3[1 + (s3 & 255)] # rk[4 * r + 1];
      n1 := t0[1 + (s1 >> 24)] # t1[1 + ((s2 >> 16) & 255)] # t2[1 + ((s3 >> 8) & 255)] # t3[1 + (s0 & 255)] # rk[4 * r + 2];
      n2 := t0[1 + (s2 >> 24)] # t1[1 + ((s3 >> 16) & 255)] # t2[1 + ((s0 >> 8) & 255)] # t3[1 + (s1 & 255)] # rk[4 * r + 3];
      n3 := t0[1 + (s3 >> 24)] # t1[1 + ((s0 >> 16) & 255)] # t2[1 + ((s1 >> 8) & 255)] # t3[1 + (s2 & 255)] # rk[4 * r + 4];
      s0 := n0; s1 := n1; s2 := n2; s3 := n3;
    END LOOP;
    n0 := ((sbox[1 + (s0 >> 24)] << 24) | (sbox[1 + ((s1 >> 16) & 255)] << 16) | (sbox[1 + ((s2 >> 8) & 255)] << 8) | sbox[1 + (s3 & 255)])
          # rk[4 * rounds + 1];
    n1 := ((sbox[1 + (s1 >> 24)] << 24) | (sbox[1 + ((s2 >> 16) & 255)] << 16) | (sbox[1 + ((s3 >> 8) & 255)] << 8) | sbox[1 + (s0 & 255)])
          # rk[4 * rounds + 2];
    n2 := ((sbox[1 + (s2 >> 24)] << 24) | (sbox[1 + ((s3 >> 16) & 255)] << 16) | (sbox[1 + ((s0 >> 8) & 255)] << 8) | sbox[1 + (s1 & 255)])
          # rk[4 * rounds + 3];
    n3 := ((sbox[1 + (s3 >> 24)] << 24) | (sbox[1 + ((s0 >> 16) & 255)] << 16) | (sbox[1 + ((s1 >> 8) & 255)] << 8) | sbox[1 + (s2 & 255)])
          # rk[4 * rounds + 4];
    s0 := n0; s1 := n1; s2 := n2; s3 := n3;
  END LOOP;
  RETURN decode(lpad(to_hex(s0), 8, '0') || lpad(to_hex(s1), 8, '0') || lpad(to_hex(s2), 8, '0') || lpad(to_hex(s3), 8, '0'), 'hex');
END $$;
REVOKE ALL ON FUNCTION pgveil.cbc_mac FROM PUBLIC;
