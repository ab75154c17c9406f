//! A PostgreSQL database as a source: declared queries, of which each caller gets the rows and columns it may see.

use crate::acknowledging::{demand, held_back, told};
use acceptance::postgres::{Postgres, READER, READER_PASSWORD, SUPERUSER, SUPERUSER_PASSWORD};
use acceptance::{Plant, http};
use broker::database::{Access, Database, Records, Wanted};
use broker::shape::rows::RowFilter;
use http_body_util::BodyExt as _;
use model::plant::{Format, RecordKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use registry::SqlQuestion;
use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const SCHEMA: &str = r#"
CREATE TABLE defect (
    id bigint PRIMARY KEY, supplier text, part text NOT NULL, cause text, cost numeric, inspector text,
    found_at timestamptz NOT NULL, attachment jsonb, secret text DEFAULT 'never'
);
INSERT INTO defect
SELECT n, CASE n % 3 WHEN 0 THEN 'acme' WHEN 1 THEN 'bolt' END, 'P-' || n, 'crack', n * 1.5, 'inspector-' || n % 7,
       timestamptz '2026-11-10T00:00:00Z' + n * interval '1 minute', jsonb_build_object('page', n)
FROM generate_series(0, 2999) n;
CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS $$ INSERT INTO defect (id, part, found_at) VALUES (-1, 'x', now()) RETURNING 1 $$;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO millgate;
"#;

const CATALOG: &str = r#"
[source.quality]
title = "Quality database"
url = "postgresql://127.0.0.1:PORT/plant"
username = "USER"
password = { file = "PASSWORD" }
tls = false
concurrency = 3
response_timeout = "2s"

[dataset.defects]
title = "Defects"
product = "press-line-quality"
source = "quality"
equipment = "press-line-1"
sensitivity = "confidential"
format = "FORMAT"
records = { suppliers = ["acme", "bolt"], unassigned = true, supplier_field = "supplier" }
masks = { inspector = "pseudonym", cost = "bucket 100" }
[dataset.defects.fields]
id = "identity"
supplier = "identity"
part = "identity"
cause = "quality"
found_at = "quality"
attachment.page = "quality"
cost = "commercial"
inspector = "personal"
recipe = "process.recipe"

[route.defects]
method = "GET"
path = "/defects"
source = "quality"
dataset = "defects"
parameters.from = { type = "timestamp", filters = ["found_at"] }
parameters.to = { type = "timestamp", filters = ["found_at"] }
parameters.part = { type = "string", default = "any", max_length = 200, characters = " -~", filters = ["part"] }
parameters.limit = { type = "integer", min = 1, max = 1000, default = 100 }
shape = { from = "from", to = "to", rows = "limit" }
sql = """
SELECT id, supplier, part, cause, cost, inspector, found_at, attachment, secret, 'P=1' AS recipe
FROM defect -- all of them
WHERE found_at >= {from} AND found_at < {to} AND ({part} = 'any' OR part = {part})
ORDER BY found_at -- the broker takes as many as are wanted"""
"#;

struct Site {
    plant: Plant,
    database: Postgres,
}

impl Site {
    async fn start() -> Self {
        Self::start_with("json", |catalog| catalog).await
    }

    /// A plant with the database and the catalog as `change` makes it.
    async fn start_with(format: &str, change: impl FnOnce(String) -> String) -> Self {
        let database = Postgres::start(SCHEMA).await.unwrap();
        let plant = Plant::start_with(|dir| {
            let password = dir.join("database.secret");
            std::fs::write(&password, READER_PASSWORD)?;
            let catalog = CATALOG
                .replace("PORT", &database.port.to_string())
                .replace("USER", READER)
                .replace("FORMAT", format)
                .replace("PASSWORD", &password.display().to_string());
            let file = dir.join("policies/plants/munich/catalog/quality.toml");
            std::fs::create_dir_all(file.parent().unwrap())?;
            Ok(std::fs::write(file, change(catalog))?)
        })
        .await
        .unwrap();
        Self { plant, database }
    }

    async fn get(&self, caller: &str, query: &str) -> http::Answer {
        let target = format!("/defects?from=2026-11-10T00:00:00Z&to=2026-11-13T00:00:00Z{query}");
        self.plant.get(caller, &target, &[("millgate-purpose", "quality-analysis")]).await.unwrap()
    }

    async fn stop(self) {
        self.plant.stop().await;
    }
}

fn rows(answer: &http::Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_gets_its_rows_and_the_database_is_not_asked_for_the_others() {
    let site = Site::start().await;
    let pushed = site.get("acme", "&limit=40").await;
    assert_eq!(pushed.header("millgate-view"), "filtered_masked;hidden=\"commercial personal process.recipe\"");
    let items = rows(&pushed);
    assert_eq!(items.len(), 40, "a page is full");
    for (n, item) in items.iter().enumerate() {
        assert_eq!((&item["id"], &item["supplier"]), (&(n * 3).into(), &"acme".into()), "{item}");
        assert!(item.get("secret").is_none() && item.get("recipe").is_none(), "{item}");
        assert_eq!(item["attachment"]["page"], n * 3);
        assert!(item["cost"].as_str().is_some_and(|cost| cost.contains("..")), "{item}");
        assert_eq!(item["inspector"].as_str().map(str::len), Some(22), "{item}");
    }
    let log = site.database.log();
    let statement = log.split("DECLARE answer").nth(1).unwrap();
    assert!(statement.contains("WHERE (q.\"supplier\" = ANY($4::text[])) LIMIT $5"), "{statement}");
    // Nobody shows the rest of it, so nobody fetches it.
    assert!(statement.contains("q.\"cost\""), "{statement}");
    assert!(!statement.contains("q.\"secret\"") && !statement.contains("q.\"recipe\""), "{statement}");

    let entries = site.plant.closed(pushed.request_id()).await.unwrap();
    assert_eq!((&entries[1]["view"], &entries[1]["rows"]), (&"filtered_masked".into(), &40.into()));
    // Of nobody, and of two: each as the plant says.
    let all = rows(&site.get("steward", "&limit=1000").await);
    assert_eq!((all.len(), all.iter().filter(|item| item["supplier"].is_null()).count()), (1000, 333));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_writes_is_a_value_and_never_sql() {
    let site = Site::start().await;
    for attack in [
        "x' OR '1'='1",
        "'; DROP TABLE defect; --",
        "any\" --",
        "$1",
        "$$; DELETE FROM defect; $$",
        "\\'; SELECT pg_sleep(60) --",
        "P-0') UNION SELECT 1,'acme',secret,'','1','',now(),null,secret FROM defect --",
        "{part}",
        "%27 OR 1=1",
        "E'\\047",
    ] {
        let encoded: String = attack.bytes().map(|b| format!("%{b:02X}")).collect();
        let answer = site.get("acme", &format!("&part={encoded}")).await;
        assert_eq!(rows(&answer), Vec::<Value>::new(), "{attack}");
    }
    let one = site.get("acme", "&part=P-3").await;
    assert_eq!(rows(&one).len(), 1, "{}", one.text());
    for (query, reason) in [
        ("&limit=1%3BDROP", "bad_parameter"),
        ("&limit=1;DROP", "ambiguous_query"),
        ("&limit=0", "bad_parameter"),
        ("&order=id", "undeclared_parameter"),
    ] {
        assert_eq!(site.get("acme", query).await.reason(), reason, "{query}");
    }
    assert_eq!(site.database.count("SELECT count(*) FROM defect").await.unwrap(), 3000);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_reads_in_time_or_not_at_all_and_says_nothing_of_why() {
    let site = Site::start().await;
    let file = site.plant.directory.path().join("policies/plants/munich/catalog/quality.toml");
    let catalog = std::fs::read_to_string(&file).unwrap();
    for (from, to, status, reason) in [
        ("FROM defect --", "FROM defects_of_another_name --", 502, "source_failed"),
        ("FROM defect --", "FROM (SELECT *, writes() FROM defect) d --", 502, "source_failed"),
        ("SELECT id, supplier", "SELECT pg_sleep(30), id, supplier", 504, "source_timeout"),
        ("SELECT id, supplier", "SELECT 1/(id-id) AS id, supplier", 502, "source_failed"),
        ("SELECT id, supplier", "SELECT 1 AS part, id, supplier", 502, "source_failed"),
        ("SELECT id, supplier", "SELECT id, supplier AS of", 502, "source_failed"),
        (
            "attachment, secret",
            "CASE id WHEN 3 THEN repeat('x', 2000000) END AS attachment, secret",
            502,
            "source_failed",
        ),
        ("/plant\"", "/nowhere\"", 502, "source_unreachable"),
        ("username = \"millgate\"", "username = \"postgres\"", 502, "source_unreachable"),
    ] {
        assert!(catalog.contains(from), "{from}");
        let before = site.plant.demo.running.broker.generation();
        std::fs::write(&file, catalog.replace(from, to)).unwrap();
        site.plant.shutdown.reload();
        acceptance::wait::until("the new catalog", async || {
            (site.plant.demo.running.broker.generation() > before).then_some(())
        })
        .await
        .unwrap();
        let answer = site.get("acme", "").await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{to}: {}", answer.text());
        for word in ["defect", "division", "relation", "SQLSTATE", "column", "read-only", "password", "xxx"] {
            assert!(!answer.text().contains(word), "{to}: {}", answer.text());
        }
    }
    assert_eq!(site.database.count("SELECT count(*) FROM defect").await.unwrap(), 3000, "nothing was written");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_no_text_is_read_here_and_a_page_is_full_all_the_same() {
    let site = Site::start_with("json", |catalog| {
        let numbers = "SELECT id, CASE supplier WHEN 'acme' THEN 1 WHEN 'bolt' THEN 2 END AS supplier,";
        catalog.replace("SELECT id, supplier,", numbers).replace(
            "supplier_field = \"supplier\"",
            "supplier_field = \"supplier\", supplier_values = { 1 = \"acme\", 2 = \"bolt\" }",
        )
    })
    .await;
    let items = rows(&site.get("bolt", "&limit=70").await);
    assert_eq!(items.len(), 70);
    assert!(items.iter().enumerate().all(|(n, item)| item["supplier"] == 2 && item["id"] == n * 3 + 1), "{items:?}");
    assert!(!site.database.log().contains("WHERE (q."), "the database is not asked to compare them");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_compares_otherwise_leaks_nothing_and_is_found_out() {
    let site = Site::start().await;
    // To this collation, `ACME` is `acme`; to the plant it is nobody that it knows.
    let collation = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        ALTER TABLE defect ALTER supplier TYPE text COLLATE ci;
        UPDATE defect SET supplier = 'ACME' WHERE id = 3";
    site.database.run(collation).await.unwrap();
    let answer = site.get("acme", "&limit=10").await;
    let ids: Vec<i64> = rows(&answer).iter().filter_map(|item| item["id"].as_i64()).collect();
    assert_eq!(ids, [0, 6, 9, 12, 15, 18, 21, 24, 27], "one that the database gave was left out");
    acceptance::wait::until("the end of trust", async || {
        let before = site.database.log().matches("WHERE (q.").count();
        let ids: Vec<i64> =
            rows(&site.get("acme", "&limit=10").await).iter().filter_map(|i| i["id"].as_i64()).collect();
        let is_pushed = site.database.log().matches("WHERE (q.").count() > before;
        (!is_pushed && ids == [0, 6, 9, 12, 15, 18, 21, 24, 27, 30]).then_some(())
    })
    .await
    .unwrap();
    site.stop().await;
}

/// A certificate for `name` with its key, and the authority's, as PEM.
fn certificate(name: &str) -> [String; 3] {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let authority = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    [leaf.pem(), key.serialize_pem(), authority]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_over_tls_is_the_one_that_its_authority_vouches_for() {
    let [leaf, key, authority] = certificate("127.0.0.1");
    let [_, _, stranger] = certificate("127.0.0.1");
    let database = Postgres::start_with(SCHEMA, Some((&leaf, &key))).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (own, other) = (file("own.pem", &authority), file("other.pem", &stranger));
    for (host, ca_file, works) in [("127.0.0.1", &own, true), ("127.0.0.1", &other, false), ("localhost", &own, false)]
    {
        let access = Access {
            url: &format!("postgresql://{host}:{}/plant", database.port).parse().unwrap(),
            tls: true,
            ca_file: Some(ca_file),
            certificate: None,
            username: READER,
            password: Some(READER_PASSWORD),
            connections_max: 1,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(10),
        };
        let wanted =
            Wanted { form: Format::Json, columns: None, records: None, series: None, rows_widened: 1, rows: 1 };
        let question = SqlQuestion { text: "SELECT 1 AS n".into(), binds: Vec::new(), rows_max: 1 };
        let slot = Arc::new(Arc::new(tokio::sync::Semaphore::new(1)).acquire_owned().await.unwrap());
        let answer = Database::new(&access).ask(&question, &wanted, slot).await;
        assert_eq!(answer.is_ok(), works, "{host} {}: {answer:?}", ca_file.display());
        assert!(!format!("{access:?} {answer:?}").contains(READER_PASSWORD));
    }
}

/// What the rows of a table say, and who may see them, for many tables: the database leaves out what the filter does, and
/// the filter what the kinds of records say.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_leaves_out_is_what_the_decision_hides() {
    let postgres = Postgres::start("CREATE TABLE row (n int, s text, c text, x text); GRANT SELECT ON row TO millgate")
        .await
        .unwrap();
    let mut chance = Chance(7);
    for round in 0..60 {
        let told = random::dataset(&mut chance);
        let kinds = told.records.kinds(64).unwrap();
        // Every other time one organisation stands for all but acme.
        let (fewer, alike) = told.records.alike(&["acme".parse().unwrap()].into(), &[].into());
        let alike = (round % 2 == 1).then(|| Arc::new(alike));
        let asked = if alike.is_some() { fewer.kinds(64).unwrap() } else { kinds.clone() };
        let decided: Vec<RecordKind> = asked.into_iter().filter(|_| chance.below(3) == 0).collect();
        let Some(filter) = RowFilter::new(&told, &decided, alike.as_ref()).map(Arc::new) else { continue };
        let is_hidden = |kind: &&RecordKind| match &alike {
            Some(alike) => decided.iter().any(|one| alike.stands_for(one, kind)),
            None => decided.contains(kind),
        };
        let hidden: Vec<RecordKind> = kinds.iter().filter(is_hidden).cloned().collect();
        let rows: Vec<[Option<&str>; 3]> = (0..40).map(|_| random::row(&mut chance)).collect();
        let literal =
            |cell: &Option<&str>| cell.map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")));
        let list = rows
            .iter()
            .enumerate()
            .map(|(n, row)| format!("({n}, {})", row.iter().map(literal).collect::<Vec<_>>().join(", ")));
        let fill = format!("TRUNCATE row; INSERT INTO row VALUES {}", list.collect::<Vec<_>>().join(", "));
        postgres.run(&fill).await.unwrap();
        let expected: Vec<usize> =
            (0..rows.len()).filter(|n| random::is_seen(&told, &kinds, &hidden, &rows[*n])).collect();
        let condition = filter.condition();
        let database = postgres.database();
        let slot = Arc::new(Arc::new(tokio::sync::Semaphore::new(1)).acquire_owned().await.unwrap());
        for is_distrusted in [false, true] {
            let is_distrusted = Arc::new(AtomicBool::new(is_distrusted));
            let records = Records { filter: &filter, condition: condition.as_ref(), is_distrusted: &is_distrusted };
            let wanted = Wanted {
                form: told.format,
                columns: None,
                records: Some(records),
                series: None,
                rows_widened: 1000,
                rows: 1000,
            };
            let question =
                SqlQuestion { text: "SELECT * FROM row ORDER BY n".into(), binds: Vec::new(), rows_max: 1000 };
            let body =
                database.ask(&question, &wanted, slot.clone()).await.unwrap().collect().await.unwrap().to_bytes();
            let got: Vec<usize> = random::numbers(told.format, &body);
            assert_eq!(got, expected, "round {round}: {:?} {hidden:?} {rows:?}", told.records);
        }
    }
}

/// A small generator of its own, so that a round that fails fails again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

mod random {
    use super::Chance;
    use model::plant::{Dataset, Format, Governance, RecordAttribute, RecordAttributes, RecordKind, Separator, ToldBy};

    pub fn dataset(chance: &mut Chance) -> Dataset {
        let mut records = RecordAttributes {
            suppliers: ["acme", "bolt", "cast"]
                .iter()
                .filter(|_| chance.below(3) > 0)
                .map(|id| id.parse().unwrap())
                .collect(),
            customers: ["car", "truck"].iter().filter(|_| chance.below(2) > 0).map(|id| id.parse().unwrap()).collect(),
            unassigned: chance.below(2) > 0,
            ..RecordAttributes::default()
        };
        records.suppliers.insert("acme".parse().unwrap());
        for (attribute, field) in [(RecordAttribute::Supplier, "s"), (RecordAttribute::Customer, "c")] {
            let is_told =
                attribute == RecordAttribute::Supplier || (chance.below(2) > 0 && !records.customers.is_empty());
            if is_told {
                let mut values = std::collections::BTreeMap::new();
                if chance.below(2) > 0 {
                    for text in ["acme", "bolt", "car", "x'y", ""] {
                        let id = chance.one(&[None, Some("acme"), Some("bolt"), Some("car"), Some("truck")]);
                        values.insert(text.to_owned(), id.map(str::to_owned));
                    }
                }
                records.told_by.insert(attribute, ToldBy { field: field.to_owned(), values });
            }
        }
        Dataset {
            id: "d".parse().unwrap(),
            title: String::new(),
            product: "p".parse().unwrap(),
            source: "s".parse().unwrap(),
            equipment: "e".parse().unwrap(),
            governance: Governance { sensitivity: 0, export_class: None, trade_secret: false, supplier: None },
            format: chance.one(&[Format::NdJson, Format::Json, Format::Csv(Separator::Comma)]),
            fields: std::iter::once(("n".to_owned(), "c".parse().unwrap())).collect(),
            masks: Default::default(),
            records,
        }
    }

    pub fn row(chance: &mut Chance) -> [Option<&'static str>; 3] {
        let texts = [
            None,
            Some("acme"),
            Some("bolt"),
            Some("cast"),
            Some("car"),
            Some("truck"),
            Some("x'y"),
            Some(""),
            Some("ACME"),
            Some("acme "),
        ];
        [chance.one(&texts), chance.one(&texts), chance.one(&texts)]
    }

    /// Said anew, from what the documentation says: all kinds that a record can be of may be seen.
    pub fn is_seen(of: &Dataset, kinds: &[RecordKind], hidden: &[RecordKind], row: &[Option<&str>; 3]) -> bool {
        let mut possible: Vec<&RecordKind> = kinds.iter().collect();
        for (attribute, by) in &of.records.told_by {
            let cell = if by.field == "s" { row[0] } else { row[1] };
            // An empty cell of CSV is a text without letters.
            let cell = if matches!(of.format, Format::Csv(_)) { Some(cell.unwrap_or_default()) } else { cell };
            let id = match cell {
                None => None,
                Some(text) if by.values.is_empty() => Some(text),
                Some(text) => match by.values.get(text) {
                    Some(id) => id.as_deref(),
                    None => return false,
                },
            };
            possible.retain(|kind| kind.get(*attribute) == id);
        }
        !possible.is_empty() && possible.iter().all(|kind| !hidden.contains(kind))
    }

    pub fn numbers(format: Format, body: &[u8]) -> Vec<usize> {
        let text = std::str::from_utf8(body).unwrap();
        let number = |item: &serde_json::Value| usize::try_from(item["n"].as_u64().unwrap()).unwrap();
        match format {
            Format::Json => serde_json::from_str::<Vec<serde_json::Value>>(text).unwrap().iter().map(number).collect(),
            Format::NdJson => text.lines().map(|line| number(&serde_json::from_str(line).unwrap())).collect(),
            _ => text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_leave_as_csv_and_as_lines() {
    let site = Site::start_with("csv", |catalog| catalog).await;
    for _ in 0..2 {
        let answer = site.get("acme", "&limit=2").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/csv; charset=utf-8; header=present"));
        let text = answer.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "id,supplier,part,cause,cost,inspector,found_at"), "{text}");
        assert!(
            lines[1].starts_with("0,acme,P-0,crack,0..100,") && lines[1].ends_with(",2026-11-10T00:00:00+00:00"),
            "{text}"
        );
    }
    site.stop().await;
    let site = Site::start_with("ndjson", |catalog| catalog).await;
    let answer = site.get("bolt", "&limit=300").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"), "{}", answer.text());
    assert_eq!(answer.text().lines().count(), 300);
    assert!(answer.text().lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["supplier"] == "bolt"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_takes_the_statement_with_it() {
    let site = Site::start_with("ndjson", |catalog| {
        let endless = "FROM (SELECT d.* FROM defect d, generate_series(1, 100000)) d --";
        catalog
            .replace("FROM defect --", endless)
            .replace("max = 1000,", "max = 100000000,")
            .replace("ORDER BY found_at", "")
    })
    .await;
    let target =
        format!("{}/defects?from=2026-11-10T00:00:00Z&to=2026-11-13T00:00:00Z&limit=100000000", site.plant.data());
    let bearer = format!("Bearer {}", site.plant.token("steward"));
    let answer = http::open(&target, &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(answer.status(), 200);
    let working = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millgate' AND state <> 'idle'";
    assert_eq!(site.database.count(working).await.unwrap(), 1);
    drop(answer);
    acceptance::wait::until("the end of the statement", async || {
        (site.database.count(working).await.ok()? == 0).then_some(())
    })
    .await
    .unwrap();
    // Three such callers would otherwise have all of the source's connections.
    for _ in 0..6 {
        drop(http::open(&target, &[("authorization", &bearer)]).await.unwrap());
    }
    acceptance::wait::until("room for another", async || {
        let answer = site.get("bolt", "&limit=1").await;
        (answer.status == 200).then_some(())
    })
    .await
    .unwrap();
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_a_databases_answer_is_kept_back_until_its_outcome_is_written() {
    const QUERY: &str = "/defects?from=2026-11-10T00:00:00Z&to=2026-11-13T00:00:00Z&limit=1000";
    let site = Site::start().await;
    demand(&site.plant, "outcome_before_complete = true").await;
    let expected = site.get("acme", "&limit=1000").await;
    assert_eq!(rows(&expected).len(), 1000);
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(site.database.port).database("plant");
    let options = options.username(SUPERUSER).password(SUPERUSER_PASSWORD).ssl_mode(PgSslMode::Disable);
    let mut holder = options.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE defect IN ACCESS EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let asked = async || (site.database.count(waits).await.ok()? == 1).then_some(());
    let go = async || {
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    };
    let answer = held_back(&site.plant, QUERY, &[("millgate-purpose", "quality-analysis")], asked, go).await;
    assert!(!answer.before.is_empty(), "all but the end is passed on at once");
    assert_eq!(String::from_utf8(answer.whole()).unwrap(), expected.text());
    assert_eq!(told(&site.plant, &answer).await["rows"], 1000);
    site.stop().await;
}
