CREATE OR REPLACE FUNCTION pgveil.cbc_mac(k pgveil.key, data bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT substr({schema}.encrypt(data, k.cipher, 'aes-cbc/pad:none'), length(data) - 15)
$$;
REVOKE ALL ON FUNCTION pgveil.cbc_mac FROM PUBLIC;
