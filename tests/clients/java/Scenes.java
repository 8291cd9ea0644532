import java.io.PrintStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;

/**
 * What pgjdbc does with a database, printed. Arguments: a directory for the transcripts and the certificate of an authority,
 * then NAME PORT USER PASSWORD for each place. One transcript is written for each place.
 */
public final class Scenes {
    private final String port, user, password, authority;
    private final PrintStream out;

    private Scenes(String port, String user, String password, String authority, PrintStream out) {
        this.port = port;
        this.user = user;
        this.password = password;
        this.authority = authority;
        this.out = out;
    }

    public static void main(String[] args) throws Exception {
        TimeZone.setDefault(TimeZone.getTimeZone("Asia/Shanghai"));
        for (int i = 2; i < args.length; i += 4) {
            try (PrintStream out = new PrintStream(Path.of(args[0], args[i]).toFile(), StandardCharsets.UTF_8)) {
                new Scenes(args[i + 1], args[i + 2], args[i + 3], args[1], out).play();
            }
        }
    }

    private interface Scene { void play(Connection c) throws Exception; }

    private void scene(String title, Scene scene, String... options) {
        out.println("== " + title + " " + String.join("&", options));
        try (Connection c = connect(options)) {
            scene.play(c);
        } catch (SQLException e) {
            out.println(failure(e));
        } catch (Exception e) {
            out.println("died of " + e);
        }
    }

    private Connection connect(String... options) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", user);
        p.setProperty("password", password);
        p.setProperty("sslmode", "disable");
        for (String option : options) {
            String[] pair = option.split("=", 2);
            p.setProperty(pair[0], pair[1]);
        }
        return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + port + "/shop", p);
    }

    private static String failure(SQLException e) {
        return e.getSQLState() + " " + e.getMessage().replaceAll("\\s+(Detail|Where|Hint):.*", "").replaceAll("port \\d+", "port N");
    }

    private void print(ResultSet rows) throws SQLException {
        ResultSetMetaData about = rows.getMetaData();
        StringBuilder head = new StringBuilder();
        for (int i = 1; i <= about.getColumnCount(); i++) {
            head.append(about.getColumnLabel(i)).append(' ').append(about.getColumnTypeName(i)).append(' ')
                .append(about.getPrecision(i)).append(',').append(about.getScale(i)).append(" | ");
        }
        out.println(head);
        int count = 0;
        while (rows.next()) {
            StringBuilder line = new StringBuilder();
            for (int i = 1; i <= about.getColumnCount(); i++) line.append(text(rows, i)).append(" | ");
            out.println(line);
            count++;
        }
        out.println(count + " rows");
        rows.close();
    }

    private static String text(ResultSet rows, int i) throws SQLException {
        return rows.getMetaData().getColumnType(i) == Types.BINARY ? Arrays.toString(rows.getBytes(i)) : rows.getString(i);
    }

    private void query(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) s.setObject(i + 1, values[i]);
            print(s.executeQuery());
        }
    }

    private void play() {
        for (String mode : new String[] {"extended", "extendedForPrepared", "extendedCacheEverything", "simple"})
            scene("answers", this::answers, "preferQueryMode=" + mode);
        scene("answers in binary", this::answers, "prepareThreshold=-1", "binaryTransferEnable=NUMERIC");
        scene("prepared on the server", this::prepared, "prepareThreshold=2");
        scene("prepared at once", this::prepared, "prepareThreshold=1", "preparedStatementCacheQueries=2");
        scene("metadata", this::metadata);
        scene("cursors", this::cursors, "defaultRowFetchSize=7");
        scene("batches", this::batches);
        scene("batches", this::batches, "reWriteBatchedInserts=true");
        scene("copy", this::copy);
        for (String save : new String[] {"never", "always", "conservative"}) scene("errors", this::errors, "autosave=" + save);
        scene("a changing table", this::changing, "prepareThreshold=1", "autosave=conservative");
        scene("cancel", this::cancel);
        scene("notifications", this::notifications);
        scene("updatable", this::updatable);
        scene("settings", this::settings, "options=-c search_path=shop", "ApplicationName=scenes", "readOnly=true");
        scene("scram", c -> query(c, "SELECT current_user"), "user=shop_scram", "password=pass 词");
        scene("wrong password", c -> query(c, "SELECT current_user"), "password=wrong");
    }

    private void answers(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            print(s.executeQuery("SELECT * FROM shop.people ORDER BY id"));
            boolean more = s.execute("SELECT 1; SELECT phone FROM shop.people WHERE id = 2; SELECT 'x;y' AS \"q\"");
            for (; more; more = s.getMoreResults()) print(s.getResultSet());
        }
        query(c, "SELECT phone, balance FROM shop.people WHERE id = ? OR name = ?", 3, "Person 4");
        query(c, "SELECT ?::text, ?::numeric, ?::bool, ?::bytea, ?::timestamptz", "ü词", new BigDecimal("1.50"), true,
            new byte[] {0, 1, (byte) 255}, new Timestamp(0));
        query(c, "SELECT ?::int[] AS a, ?::text AS n", c.createArrayOf("int4", new Object[] {1, null, 3}), null);
        try (CallableStatement call = c.prepareCall("{? = call shop.twice(?)}")) {
            call.registerOutParameter(1, Types.INTEGER);
            call.setInt(2, 21);
            call.execute();
            out.println(call.getInt(1));
        }
        try (PreparedStatement s = c.prepareStatement("SELECT home, phone FROM shop.people WHERE id = ?")) {
            out.println(s.getParameterMetaData().getParameterTypeName(1) + " " + s.getMetaData().getColumnTypeName(1));
        }
    }

    private void prepared(Connection c) throws SQLException {
        try (PreparedStatement s = c.prepareStatement("SELECT id, phone, seen, photo, balance FROM shop.people WHERE id BETWEEN ? AND ?")) {
            for (int i = 1; i < 9; i++) {
                s.setInt(1, i);
                s.setInt(2, i + 1);
                print(s.executeQuery());
            }
            s.setString(1, "3");
            s.setObject(2, 4L);
            print(s.executeQuery());
        } catch (SQLException e) {
            out.println(failure(e));
        }
        for (int i = 0; i < 6; i++) for (int j = 0; j < 3; j++) query(c, "SELECT " + i + ", phone FROM shop.people WHERE id = ?", j + 1);
        try (Statement s = c.createStatement()) {
            s.execute("DEALLOCATE ALL");
        }
        query(c, "SELECT 1, phone FROM shop.people WHERE id = ?", 1);
    }

    private void metadata(Connection c) throws SQLException {
        DatabaseMetaData m = c.getMetaData();
        print(m.getCatalogs());
        print(m.getSchemas());
        print(m.getSchemas(null, "sh%"));
        print(m.getTableTypes());
        print(m.getTables(null, "shop", "%", null));
        print(m.getTables(null, null, "p%", new String[] {"TABLE", "VIEW", "SYSTEM TABLE", "MATERIALIZED VIEW", "PARTITIONED TABLE"}));
        print(m.getColumns(null, "shop", "%", "%"));
        print(m.getColumnPrivileges(null, "shop", "people", "%"));
        print(m.getTablePrivileges(null, "shop", "%"));
        print(m.getPrimaryKeys(null, "shop", "orders"));
        print(m.getImportedKeys(null, "shop", "people"));
        print(m.getExportedKeys(null, "shop", "branches"));
        print(m.getCrossReference(null, "shop", "people", null, "shop", "orders"));
        print(m.getIndexInfo(null, "shop", "people", false, true));
        print(m.getBestRowIdentifier(null, "shop", "people", DatabaseMetaData.bestRowSession, true));
        print(m.getVersionColumns(null, "shop", "people"));
        print(m.getTypeInfo());
        print(m.getUDTs(null, "shop", "%", null));
        print(m.getFunctions(null, "shop", "%"));
        print(m.getFunctionColumns(null, "shop", "%", "%"));
        print(m.getProcedures(null, "shop", "%"));
        print(m.getProcedureColumns(null, "shop", "%", "%"));
        print(m.getClientInfoProperties());
        for (String s : new String[] {m.getDatabaseProductVersion(), m.getUserName(), m.getSQLKeywords(), m.getNumericFunctions(),
            m.getStringFunctions(), m.getTimeDateFunctions(), m.getIdentifierQuoteString(), m.getExtraNameCharacters()}) out.println(s);
        out.println(m.getMaxColumnNameLength() + " " + m.getMaxIndexLength() + " " + m.getDefaultTransactionIsolation());
    }

    private void cursors(Connection c) throws SQLException {
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("SELECT id, phone FROM shop.people ORDER BY id")) {
            for (int size : new int[] {1, 6, 39, 40, 0}) {
                s.setFetchSize(size);
                s.setMaxRows(size == 6 ? 20 : 0);
                print(s.executeQuery());
            }
        }
        try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
            ResultSet rows = s.executeQuery("SELECT phone FROM shop.people ORDER BY id");
            rows.absolute(-3);
            out.println(rows.getString(1));
        }
        try (Statement one = c.createStatement(); Statement two = c.createStatement()) {
            one.setFetchSize(5);
            ResultSet rows = one.executeQuery("SELECT id FROM shop.people ORDER BY id LIMIT 12");
            while (rows.next()) print(two.executeQuery("SELECT phone FROM shop.people WHERE id = " + rows.getInt(1)));
        }
        c.rollback();
    }

    private void batches(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE play.batch (id serial PRIMARY KEY, a int UNIQUE, b text)");
            try (PreparedStatement p = c.prepareStatement("INSERT INTO play.batch (a, b) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                for (int i = 0; i < 700; i++) {
                    p.setInt(1, i);
                    p.setString(2, i % 50 == 0 ? null : "b" + i);
                    p.addBatch();
                }
                int[] counts = p.executeBatch();
                out.println(counts.length + " " + Arrays.stream(counts).boxed().distinct().count());
                print(p.getGeneratedKeys());
                p.setInt(1, 1000);
                p.setString(2, "x");
                p.addBatch();
                p.setInt(1, 5);
                p.addBatch();
                try {
                    p.executeBatch();
                } catch (BatchUpdateException e) {
                    out.println(e.getSQLState() + " " + Arrays.toString(e.getUpdateCounts()));
                }
            }
            s.addBatch("UPDATE play.batch SET b = 'y' WHERE a < 10");
            s.addBatch("DELETE FROM play.batch WHERE a > 600");
            out.println(Arrays.toString(s.executeBatch()));
            print(s.executeQuery("SELECT count(*), count(b), min(b), sum(a) FROM play.batch"));
        } finally {
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE IF EXISTS play.batch");
            }
        }
    }

    private void copy(Connection c) throws Exception {
        CopyManager copies = c.unwrap(PGConnection.class).getCopyAPI();
        StringWriter text = new StringWriter();
        out.println(copies.copyOut("COPY (SELECT id, phone FROM shop.people ORDER BY id) TO STDOUT WITH CSV HEADER", text));
        out.println(copies.copyOut("COPY shop.branches TO STDOUT", text));
        out.println(text);
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TEMP TABLE taken (a int, b text)");
            out.println(copies.copyIn("COPY taken FROM STDIN", new StringReader("1\tone\n2\ttwo\n")));
            try {
                copies.copyIn("COPY taken FROM STDIN", new StringReader("1\tone\nnonsense\n"));
            } catch (SQLException e) {
                out.println(failure(e));
            }
            print(s.executeQuery("SELECT * FROM taken"));
        }
    }

    private void errors(Connection c) throws SQLException {
        c.setAutoCommit(false);
        for (String sql : new String[] {"SELECT 1/0", "SELECT phone FROM shop.people WHERE id = 1", "SELECT * FROM shop.nothing_here",
            "SELECT phon FROM shop.people", "INSERT INTO shop.branches VALUES ('BJ', 'x')", "SELECT 'after'"}) {
            for (int i = 0; i < 2; i++) {
                try {
                    query(c, sql);
                } catch (SQLException e) {
                    out.println(failure(e));
                }
            }
        }
        c.rollback();
        Savepoint here = c.setSavepoint("here");
        try {
            query(c, "SELECT 1/0");
        } catch (SQLException e) {
            c.rollback(here);
        }
        query(c, "SELECT phone FROM shop.people WHERE id = 1");
        c.commit();
    }

    private void changing(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE play.changing (a int)");
            s.execute("INSERT INTO play.changing VALUES (1)");
            try (PreparedStatement p = c.prepareStatement("SELECT * FROM play.changing")) {
                for (String change : new String[] {"SELECT 1", "ALTER TABLE play.changing ADD b text", "ALTER TABLE play.changing DROP a",
                    "DROP TABLE play.changing; CREATE TABLE play.changing (z date)"}) {
                    s.execute(change);
                    print(p.executeQuery());
                    c.setAutoCommit(false);
                    print(p.executeQuery());
                    c.commit();
                    c.setAutoCommit(true);
                }
            } finally {
                c.setAutoCommit(true);
                s.execute("DROP TABLE play.changing");
            }
        }
    }

    private void cancel(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            try {
                s.executeQuery("SELECT pg_sleep(60)");
            } catch (SQLException e) {
                out.println(failure(e));
            }
            print(s.executeQuery("SELECT phone FROM shop.people WHERE id = 1"));
        }
        out.println(c.isValid(20));
    }

    private void notifications(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute("LISTEN news");
            s.execute("NOTIFY news, 'from java'");
            for (PGNotification n : c.unwrap(PGConnection.class).getNotifications(20000)) out.println(n.getName() + " " + n.getParameter());
        }
    }

    private void updatable(Connection c) throws SQLException {
        try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_SENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
            s.execute("CREATE TEMP TABLE up (id int PRIMARY KEY, b text)");
            s.execute("INSERT INTO up VALUES (1, 'a'), (2, 'b')");
            ResultSet rows = s.executeQuery("SELECT id, b FROM up ORDER BY id");
            rows.next();
            rows.updateString(2, "changed");
            rows.updateRow();
            rows.moveToInsertRow();
            rows.updateInt(1, 3);
            rows.insertRow();
            print(s.executeQuery("SELECT * FROM up ORDER BY id"));
        }
    }

    private void settings(Connection c) throws SQLException {
        query(c, "SELECT phone FROM people WHERE id = 1");
        query(c, "SELECT current_setting('application_name'), current_setting('search_path'), current_setting('TimeZone')");
        out.println(c.getSchema() + " " + c.getCatalog() + " " + c.isReadOnly() + " " + c.getTransactionIsolation());
        c.setSchema("play");
        c.setClientInfo("ApplicationName", "other");
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        query(c, "SELECT current_setting('application_name'), current_setting('search_path')");
        try (Connection safe = connect("sslmode=verify-ca", "sslrootcert=" + authority)) {
            query(safe, "SELECT phone FROM shop.people WHERE id = 1");
        } catch (SQLException e) {
            out.println("no TLS");
        }
    }
}
