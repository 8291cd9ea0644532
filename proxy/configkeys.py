"""The keys of the configuration file: what each one means and how its value looks. `policies.keywords` says how a key is added.

The words for people are short here; docs/configuration.md is the manual. A key that stands there for a file only says so.
"""

from __future__ import annotations

from policies.alerts import SEVERITIES
from policies.keywords import (
    DURATION,
    SCALAR,
    TEXT,
    Key,
    Schema,
    either,
    listed,
    mapping,
    named,
    one_of,
    optional,
    some,
    whole,
    words,
)
from proxy.session.effects import Pooling
from proxy.sinks.settings import FORMATS as SINK_FORMATS
from proxy.tls import ClientMode, ServerMode

MAX_WORKERS = 256
AUDIT_MODES = ("strict", "before-result", "async")
AUDIT_TEXTS = ("redacted", "full", "none")
AUDIT_VALUES = ("digests", "none")
AUDIT_FAILURES = ("stop", "flow")
_PORT = whole(1, 65535)
_COUNT = whole(0, 1_000_000)
_RATE: Schema = {"type": "string", "pattern": "^[1-9][0-9]{0,5}/(s|m|h)$"}

SERVER_TLS = {
    "mode": Key("As libpq's sslmode; prefer without it.", words(m.value for m in ServerMode)),
    "ca": Key("PEM file of the authorities that may sign the server's certificate; the system's without it.", TEXT),
    "cert": Key("PEM file: our own certificate, if the server asks for one.", TEXT),
    "key": Key("PEM file: its key.", TEXT),
}
PASSWORDS = {
    "password": Key("The password; ${NAME} is taken from the environment.", SCALAR),
    "password_file": Key("A file with the password.", TEXT),
    "password_env": Key("The environment variable with the password.", TEXT),
}
PASSWORD = tuple(PASSWORDS)
_ONE_PASSWORD = [("password", "password_file"), ("password", "password_env"), ("password_file", "password_env")]
ADDRESS = {
    "host": Key("Address to listen on, or a name; 0.0.0.0 or :: for all.", TEXT),
    "port": Key("0 picks a free port, which the log names.", whole(0, 65535)),
}
UPSTREAM = {
    "host": Key("The PostgreSQL server: name, address, or the directory of a Unix socket.", TEXT, needed=True),
    "port": Key("5432 without it.", _PORT),
    "connect_timeout": Key("For connecting and the TLS handshake together; 10s without it.", DURATION),
    "tls": Key("TLS between pgveil and the server.", mapping(SERVER_TLS)),
    "pooling": Key("Whether this is a connection pooler, and its mode; auto finds out.", words(p.value for p in Pooling)),
}
CONTROL = {
    "user": Key("The login that reads catalogs and roles. It needs CONNECT, and no privilege on any table.", TEXT, needed=True),
    **PASSWORDS,
    "database": Key("Where it connects for what all databases share; postgres without it.", TEXT),
    "host": Key("The server itself, when upstream is a pooler.", TEXT),
    "port": Key("Of that server; 5432 without it.", _PORT),
    "tls": Key("As upstream.tls without it.", mapping(SERVER_TLS)),
    "interval": Key("How often the catalog is asked whether it has changed; 1s without it.", DURATION),
    "max_stale": Key("Masked sessions are refused when the catalog could not be read for so long; 30s without it.", DURATION),
}
CLIENT_TLS = {
    "cert": Key("PEM file with the certificate for clients.", TEXT, needed=True),
    "key": Key("PEM file with its key, without a passphrase.", TEXT, needed=True),
    "client_ca": Key("Clients must show a certificate signed by one of these authorities.", TEXT),
    "client_crl": Key("Certificate revocation lists, one of each authority in client_ca.", TEXT),
    "mode": Key("require refuses plain connections; allow lets both in.", words(m.value for m in ClientMode)),
}
ANCHOR_POSTGRES = {
    "host": Key("The PostgreSQL server: name, address, or the directory of a Unix socket.", TEXT, needed=True),
    "port": Key("5432 without it.", _PORT),
    "user": Key("A login that may insert into the table.", TEXT, needed=True),
    **PASSWORDS,
    "database": Key("postgres without it.", TEXT),
    "table": Key("schema.table; pgveil_anchors without it.", TEXT),
    "tls": Key("TLS to that server.", mapping(SERVER_TLS)),
}
ANCHOR_HTTP = {
    "url": Key("Each anchor is sent here by POST.", TEXT, needed=True),
    "token_file": Key("A file with the bearer token.", TEXT),
    "ca": Key("PEM file of the authorities that may sign the server's certificate; the system's without it.", TEXT),
}
ANCHOR_S3 = {
    "bucket": Key("The bucket.", TEXT, needed=True),
    "prefix": Key("What the names of objects begin with; pgveil without it.", TEXT),
    "region": Key("us-east-1 without it.", TEXT),
    "endpoint": Key("URL of a server that speaks S3; Amazon's without it.", TEXT),
    "access_key_id": Key("Without it: from the environment or the machine's role.", TEXT),
    "secret_key_file": Key("A file with the secret access key.", TEXT),
}
ANCHOR = {
    "file": Key("Anchors are appended to this file: on a mount that only takes.", TEXT),
    "postgres": Key("A table of another server.", mapping(ANCHOR_POSTGRES, apart=_ONE_PASSWORD)),
    "http": Key("A web service.", mapping(ANCHOR_HTTP)),
    "s3": Key("A bucket; needs the extra s3 (pip install 'pgveil[s3]').", mapping(ANCHOR_S3)),
}
SINK_POSTGRES = {
    "host": Key("The PostgreSQL server: name, address, or the directory of a Unix socket.", TEXT, needed=True),
    "port": Key("5432 without it.", _PORT),
    "user": Key("The login that `pgveil audit sink sql` lets write.", TEXT, needed=True),
    **PASSWORDS,
    "database": Key("postgres without it.", TEXT),
    "schema": Key("Where the table is; pgveil_audit without it.", TEXT),
    "source": Key("Names this proxy in the table; the host's name without it.", TEXT),
    "tls": Key("TLS to that server.", mapping(SERVER_TLS)),
}
SINK_SYSLOG = {
    "address": Key("udp://, tcp:// or tls://host:port, or unix:/dev/log.", TEXT, needed=True),
    "format": Key("json (without it) or cef.", words(SINK_FORMATS)),
    "facility": Key("0 to 23; 13, log audit, without it.", whole(0, 23)),
    "max_size": Key("Bytes of a message, beyond which records are shortened; 60000 without it.", whole(1024, 4_000_000)),
    "kinds": Key("Records of these kinds only.", some(TEXT)),
    "source": Key("The host name in the messages; the host's without it.", TEXT),
    "ca": Key("PEM file of the authorities that may sign the server's certificate; the system's without it.", TEXT),
}
SINK = {
    "postgres": Key("A table of another server.", mapping(SINK_POSTGRES, apart=_ONE_PASSWORD)),
    "syslog": Key("RFC 5424 messages.", mapping(SINK_SYSLOG)),
}
AUDIT = {
    "directory": Key("Where the hash-chained segments go.", TEXT, needed=True),
    "key_file": Key("The secret that seals the chain; made at the first start.", TEXT),
    "segment_time": Key("A segment with records in it ends after so long; 1h without it.", DURATION),
    "witness": Key("How often each worker states the heads of the others, and heads are anchored; 60s without it.", DURATION),
    "keep": Key("Segments whose last record is older are removed; without it, never.", DURATION),
    "on_failure": Key("stop (without it) or flow: what data does when evidence cannot be written.", words(AUDIT_FAILURES)),
    "anchors": Key("Where heads are kept out of this host's reach.", listed(one_of(ANCHOR))),
    "sinks": Key("Where the auditor sends copies of the records, by name.", named(one_of(SINK))),
    "mode": Key("strict, before-result (without it) or async: when evidence is written.", words(AUDIT_MODES)),
    "text": Key("What is kept of statements: redacted (without it), full or none.", words(AUDIT_TEXTS)),
    "values": Key("What is kept of constants and parameters: digests (without it) or none.", words(AUDIT_VALUES)),
}
COMPLETENESS = {
    "interval": Key("How often what the server has counted is written down; 5m without it, 0s: never.", DURATION),
    "direct_roles": Key("Roles that may connect to the server themselves: monitoring, backup.", some(TEXT)),
}
LIMITS = {
    "connections": Key("Sessions at once; 500 without it.", whole(1, 1_000_000)),
    "connections_per_user": Key("Sessions of one login.", _COUNT),
    "connections_per_address": Key("Connections of one client address.", _COUNT),
    "connections_per_database": Key("Sessions in one database.", _COUNT),
    "connection_rate": Key("New connections of one address: 50/s, 600/m, 1000/h.", _RATE),
    "failed_logins": Key("Wrong passwords of one user from one address: 5/m.", _RATE),
    "failed_logins_per_address": Key("Wrong passwords from one address, whatever the names.", _RATE),
    "login_timeout": Key("From the first byte to the end of the login; 60s without it.", DURATION),
    "idle_timeout": Key("A session idle for so long outside a transaction ends; 0s: never.", DURATION),
    "write_timeout": Key("A client that takes nothing for so long is cut off; 0s: never.", DURATION),
    "drain_timeout": Key("How long a stopping proxy waits for running statements; 30s without it.", DURATION),
    "hang_timeout": Key("A worker silent for so long is replaced; 30s without it.", DURATION),
}
TCP = {
    "keepalive": Key("Silence after which probes are sent; 60s without it.", DURATION),
    "keepalive_interval": Key("Between probes; 15s without it.", DURATION),
    "keepalive_count": Key("Probes without an answer, after which the connection is closed; 6 without it.", whole(1, 127)),
    "user_timeout": Key("Data that nobody acknowledges for so long ends the connection; 0s: the system's.", DURATION),
}
DISCOVERY = {
    "user": Key("The login of pgveil discover, which reads tables.", TEXT, needed=True),
    **PASSWORDS,
}
TARGET = {
    "webhook": Key("Alerts go to this address, by POST, as JSON.", TEXT),
    "alertmanager": Key("Address of a Prometheus Alertmanager, such as http://alerts:9093.", TEXT),
    "command": Key(
        "This program, with its arguments, gets the alert as JSON on its standard input.", {**listed(TEXT), "minItems": 1}
    ),
    "secret_file": Key("A file with the secret that signs what goes to the webhook.", TEXT),
    "secret_env": Key("The environment variable with it.", TEXT),
    "severity": Key("Alerts of this severity and above; info without it.", words(SEVERITIES)),
    "alerts": Key("Alerts with these names only; * and ? are wildcards.", some(TEXT)),
    "timeout": Key("For one attempt; 10s without it.", DURATION),
    "give_up": Key("An alert that could not be delivered for so long is dropped, and counted; 1d without it.", DURATION),
}
_APART = [("webhook", "alertmanager"), ("webhook", "command"), ("alertmanager", "command"), ("secret_file", "secret_env")]
SUPERVISION = {
    "directory": Key("Where the auditor keeps its state and its own trail; audit.directory without it.", TEXT),
    "http": Key("Metrics of the auditor; off without it.", mapping(ADDRESS)),
    "targets": Key("Where alerts go, by name, beside the log and the trail.", named(mapping(TARGET, apart=_APART))),
}
SECTIONS = {
    "listen": Key("Where clients connect; 127.0.0.1:6432 without it.", mapping(ADDRESS)),
    "upstream": Key("The PostgreSQL server behind the proxy.", mapping(UPSTREAM), needed=True),
    "control": Key("The login that reads catalogs and roles.", mapping(CONTROL, apart=_ONE_PASSWORD), needed=True),
    "tls": Key("The certificate for clients; plain text without it.", mapping(CLIENT_TLS)),
    "policy": Key("The policy: a file or a list of files; standard:jrt-0171 is one that comes along.", some(TEXT), needed=True),
    "audit": Key("The audit trail.", mapping(AUDIT), needed=True),
    "completeness": Key("What shows that nobody went round the proxy.", mapping(COMPLETENESS)),
    "http": Key("/metrics, /healthz and /readyz; off without it.", mapping(ADDRESS)),
    "limits": Key("Of each worker. 0 and 0s: none.", mapping(LIMITS)),
    "tcp": Key("How vanished peers are noticed.", mapping(TCP)),
    "databases": Key(
        "Which databases are served: a list, or a map from the name at the client to the name at the server.",
        either({**listed(SCALAR), "minItems": 1}, {**named(optional(SCALAR)), "minProperties": 1}),
    ),
    "workers": Key(
        "Processes that share the port: a number, or auto for one per CPU.", either(whole(1, MAX_WORKERS), words(["auto"]))
    ),
    "supervision": Key("The auditor, which follows the trail and raises alerts; off without it.", mapping(SUPERVISION)),
    "discovery": Key("The login of pgveil discover.", mapping(DISCOVERY, apart=_ONE_PASSWORD)),
}
