-- The companion schema: what keyed masks call, in every database that has columns masked so.
--
-- All of it belongs to a role that nobody can log in as. Keys are readable by that role only; the functions run with its rights
-- (SECURITY DEFINER), see only their arguments and the keys, and give back what the mask shows. EXECUTE is for everybody, because a
-- masked statement runs as the client's own login; sessions of pgveil may not call them by themselves.

CREATE TABLE IF NOT EXISTS pgveil.key (
  name        text        NOT NULL,
  version     int         NOT NULL CHECK (version > 0),
  inner_pad   bytea       NOT NULL,                       -- HMAC-SHA256: the key, padded and combined as RFC 2104 says
  outer_pad   bytea       NOT NULL,
  cipher      bytea       NOT NULL,                       -- AES-256
  schedule    int8[]      NOT NULL,                       -- its round keys, where pgcrypto is missing
  fingerprint text        NOT NULL,
  installed   timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (name, version)
);
REVOKE ALL ON pgveil.key FROM PUBLIC;

CREATE OR REPLACE FUNCTION pgveil.find_key(key_name text, key_version int) RETURNS pgveil.key
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE found_key pgveil.key;
BEGIN
  IF key_version = 0 THEN
    SELECT * INTO found_key FROM pgveil.key k WHERE k.name = key_name ORDER BY k.version DESC LIMIT 1;
  ELSE
    SELECT * INTO found_key FROM pgveil.key k WHERE k.name = key_name AND k.version = key_version;
  END IF;
  IF found_key.name IS NULL THEN
    RAISE EXCEPTION 'pgveil: key % is not installed in this database', key_name || CASE key_version WHEN 0 THEN '' ELSE '@' || key_version END
      USING ERRCODE = 'config_file_error', HINT = 'Run pgveil install.';
  END IF;
  RETURN found_key;
END $$;
REVOKE ALL ON FUNCTION pgveil.find_key FROM PUBLIC;

CREATE OR REPLACE FUNCTION pgveil.digest(key_name text, key_version int, value text) RETURNS bytea
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE k pgveil.key := pgveil.find_key(key_name, key_version);
BEGIN
  RETURN sha256(k.outer_pad || sha256(k.inner_pad || convert_to(value, 'UTF8')));
END $$;

CREATE OR REPLACE FUNCTION pgveil.number(key_name text, key_version int, value text) RETURNS int8
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN ('x' || encode(substr(pgveil.digest(key_name, key_version, value), 1, 8), 'hex'))::bit(64)::int8 & 9223372036854775807;
END $$;

CREATE OR REPLACE FUNCTION pgveil.uuid_bytes(key_name text, key_version int, value text) RETURNS bytea
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE d bytea := substr(pgveil.digest(key_name, key_version, value), 1, 16);
BEGIN
  RETURN set_byte(set_byte(d, 6, get_byte(d, 6) & 15 | 128), 8, get_byte(d, 8) & 63 | 128);
END $$;

CREATE OR REPLACE FUNCTION pgveil.shift_days(key_name text, key_version int, day int, most int) RETURNS int
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number int8 := pgveil.number(key_name, key_version, 'shift ' || day);
  days int := 1 + ((number >> 1) % most)::int;
BEGIN
  RETURN CASE WHEN number & 1 = 1 THEN -days ELSE days END;
END $$;

-- FF1 of NIST SP 800-38G, algorithm 7. Numerals as numbers: `a` and `b` are the halves, u and v their lengths.
CREATE OR REPLACE FUNCTION pgveil.ff1(k pgveil.key, radix int, numerals int[], tweak bytea) RETURNS int[]
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n int := cardinality(numerals);
  t int := length(tweak);
  u int := n / 2;
  v int := n - u;
  a numeric := 0;
  b numeric := 0;
  c numeric;
  of_u numeric := 1;
  of_v numeric := 1;
  size int := 0;
  d int;
  head bytea;
  r bytea;
  s text;
  y numeric;
  hex text;
  rest numeric;
  padding bytea;
  result int[] := numerals;
BEGIN
  FOR i IN 1 .. u LOOP a := a * radix + numerals[i]; of_u := of_u * radix; END LOOP;
  FOR i IN u + 1 .. n LOOP b := b * radix + numerals[i]; of_v := of_v * radix; END LOOP;
  rest := of_v - 1;
  WHILE rest > 0 LOOP rest := div(rest, 256); size := size + 1; END LOOP;
  d := 4 * ((size + 3) / 4) + 4;
  head := decode('010201' || lpad(to_hex(radix), 6, '0') || '0a' || lpad(to_hex(u % 256), 2, '0')
                 || lpad(to_hex(n), 8, '0') || lpad(to_hex(t), 8, '0'), 'hex');
  padding := decode(repeat('00', (((-t - size - 1) % 16) + 16) % 16), 'hex');
  FOR i IN 0 .. 9 LOOP
    hex := '';
    rest := b;
    FOR j IN 1 .. (size + 3) / 4 LOOP
      hex := lpad(to_hex((rest % 4294967296)::int8), 8, '0') || hex;
      rest := div(rest, 4294967296);
    END LOOP;
    r := pgveil.cbc_mac(k, head || tweak || padding || decode(lpad(to_hex(i), 2, '0') || right(hex, size * 2), 'hex'));
    s := encode(r, 'hex');
    FOR j IN 1 .. (d + 15) / 16 - 1 LOOP                    -- R combined with the number of the block, in its last byte
      s := s || encode(pgveil.cbc_mac(k, set_byte(r, 15, get_byte(r, 15) # j)), 'hex');
    END LOOP;
    y := 0;
    FOR j IN 0 .. d / 4 - 1 LOOP
      y := y * 4294967296 + ('x' || lpad(substr(s, j * 8 + 1, 8), 16, '0'))::bit(64)::int8;
    END LOOP;
    c := (a + y) % CASE WHEN i % 2 = 0 THEN of_u ELSE of_v END;
    a := b;
    b := c;
  END LOOP;
  FOR i IN REVERSE u .. 1 LOOP result[i] := (a % radix)::int; a := div(a, radix); END LOOP;
  FOR i IN REVERSE n .. u + 1 LOOP result[i] := (b % radix)::int; b := div(b, radix); END LOOP;
  RETURN result;
END $$;
REVOKE ALL ON FUNCTION pgveil.ff1 FROM PUBLIC;

CREATE OR REPLACE FUNCTION pgveil.fpe(
  key_name text, key_version int, value text, alphabet text, keep_first int, keep_last int, tweak text
) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  separators CONSTANT text := {separators};
  radix int := length(alphabet);
  size int := length(value);
  inner_first int := keep_first + 1;
  inner_last int := size - keep_last;
  numerals int[] := '{}';
  numeral int;
  letter text;
  shown text := '';
  at int := 0;
BEGIN
  IF size <= keep_first + keep_last THEN
    inner_first := 1;
    inner_last := size;
  ELSE
    FOR i IN inner_first .. inner_last LOOP
      numeral := strpos(alphabet COLLATE "C", substr(value, i, 1));
      IF numeral > 0 THEN numerals := numerals || (numeral - 1); END IF;
    END LOOP;
  END IF;
  IF cardinality(numerals) BETWEEN 2 AND {max_length} AND power(radix::float8, least(cardinality(numerals), 20)) >= {min_domain} THEN
    numerals := pgveil.ff1(pgveil.find_key(key_name, key_version), radix, numerals, convert_to(tweak, 'UTF8'));
  ELSE
    numerals := NULL;
  END IF;
  FOR i IN inner_first .. inner_last LOOP
    letter := substr(value, i, 1);
    IF numerals IS NOT NULL AND strpos(alphabet COLLATE "C", letter) > 0 THEN
      at := at + 1;
      shown := shown || substr(alphabet, numerals[at] + 1, 1);
    ELSIF strpos(separators COLLATE "C", letter) > 0 THEN
      shown := shown || letter;
    ELSE
      shown := shown || '*';
    END IF;
  END LOOP;
  RETURN substr(value, 1, inner_first - 1) || shown || substr(value, inner_last + 1);
END $$;

CREATE OR REPLACE FUNCTION pgveil.fpe_number(key_name text, key_version int, value numeric, most numeric, tweak text)
RETURNS numeric
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  k pgveil.key;
  digits int[] := CASE WHEN value <> 'NaN' THEN string_to_array(trim_scale(abs(value))::text, NULL)::int[] END;
  found numeric;
BEGIN
  IF digits IS NULL OR cardinality(digits) NOT BETWEEN 6 AND {max_length} THEN
    RETURN NULL;
  END IF;
  k := pgveil.find_key(key_name, key_version);
  LOOP                                                      -- cycle walking
    digits := pgveil.ff1(k, 10, digits, convert_to(tweak, 'UTF8'));
    found := array_to_string(digits, '')::numeric;
    EXIT WHEN digits[1] > 0 AND found <= most;
  END LOOP;
  RETURN found * sign(value);
END $$;

-- What is installed, for `pgveil check`: names, versions and fingerprints, no keys.
CREATE OR REPLACE FUNCTION pgveil.keys() RETURNS TABLE (name text, version int, fingerprint text)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT k.name, k.version, k.fingerprint FROM pgveil.key k ORDER BY 1, 2
$$;
