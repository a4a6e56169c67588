//! `backup` and `restore`: every row as a line of JSON, whichever database it lies in.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use crate::server::Config;
use crate::store::{Backend, Store, migrations};

/// What a column holds. Whether it may be empty is the schema's business.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
}
use Kind::{Number, Text};

type Table = (&'static str, &'static [(&'static str, Kind)]);

/// Every table that is not made anew by itself, those first that others refer to.
const TABLES: &[Table] = &[
    ("secrets", &[("name", Text), ("sealed", Text)]),
    (
        "control_keys",
        &[
            ("id", Number),
            ("public", Text),
            ("sealed", Text),
            ("created", Number),
            ("signs_from", Number),
        ],
    ),
    (
        "networks",
        &[
            ("id", Text),
            ("name", Text),
            ("v4", Text),
            ("v6", Text),
            ("revision", Number),
            ("next_host", Number),
            ("policy", Number),
            ("created", Number),
            ("next_flow", Number),
            ("flow_logs", Number),
            ("key_lifetime", Number),
        ],
    ),
    (
        "nodes",
        &[
            ("id", Text),
            ("network", Text),
            ("name", Text),
            ("host", Number),
            ("node_key", Text),
            ("wireguard_key", Text),
            ("expires", Number),
            ("ephemeral", Number),
            ("lapsed", Number),
            ("instance", Text),
            ("seen", Number),
            ("record", Text),
        ],
    ),
    ("released", &[("network", Text), ("host", Number), ("since", Number)]),
    (
        "enrolment_keys",
        &[("id", Text), ("network", Text), ("hash", Text), ("uses", Number), ("record", Text)],
    ),
    ("tokens", &[("id", Text), ("network", Text), ("hash", Text), ("record", Text)]),
    (
        "policies",
        &[
            ("network", Text),
            ("version", Number),
            ("text", Text),
            ("author", Text),
            ("comment", Text),
            ("created", Number),
        ],
    ),
    ("regions", &[("network", Text), ("record", Text)]),
    ("revocations", &[("network", Text), ("identity", Text), ("until", Number)]),
    ("chains", &[("chain", Text), ("number", Number), ("hash", Text)]),
    (
        "audit",
        &[
            ("chain", Text),
            ("number", Number),
            ("at", Number),
            ("actor", Text),
            ("action", Text),
            ("subject", Text),
            ("detail", Text),
            ("previous", Text),
            ("hash", Text),
        ],
    ),
    (
        "flows",
        &[
            ("network", Text),
            ("number", Number),
            ("node", Text),
            ("at", Number),
            ("source", Text),
            ("destination", Text),
            ("event", Text),
            ("record", Text),
        ],
    ),
];

/// Rows that are read at once.
const READ: i64 = 1_000;

fn names(columns: &[(&str, Kind)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn schema(backend: Backend) -> i64 {
    migrations(backend).iter().map(|step| step.version).max().unwrap_or(0)
}

async fn open(config: &Config) -> Result<Store> {
    Store::open(&config.database)
        .await
        .with_context(|| format!("opening the database {}", config.shown_database()))
}

/// Gives how many rows were written.
pub(super) async fn write(config: &Config, file: &Path) -> Result<u64> {
    let store = open(config).await?;
    // Sealed secrets and hashes, but also who is where: its owner's alone.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let made = made.with_context(|| format!("making the backup {}", file.display()))?;
    let mut out = BufWriter::new(made);
    let mut tx = store.pool().begin().await?;
    if store.backend() == Backend::Postgres {
        // All tables as they were at one moment; SQLite's transactions are so anyway.
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
    }
    writeln!(out, "{}", json!({ "nearwire-control": schema(store.backend()) }))?;
    let mut count = 0_u64;
    for (table, columns) in TABLES {
        let names = names(columns);
        let mut offset = 0;
        loop {
            let sql = format!("SELECT {names} FROM {table} ORDER BY {names} LIMIT $1 OFFSET $2");
            let rows =
                sqlx::query(AssertSqlSafe(sql)).bind(READ).bind(offset).fetch_all(&mut *tx).await?;
            if rows.is_empty() {
                break;
            }
            offset += READ;
            for row in &rows {
                let mut values = Vec::with_capacity(columns.len());
                for (at, (_, kind)) in columns.iter().enumerate() {
                    values.push(match kind {
                        Text => json!(row.try_get::<Option<String>, _>(at)?),
                        Number => json!(row.try_get::<Option<i64>, _>(at)?),
                    });
                }
                writeln!(out, "{}", json!([table, values]))?;
                count += 1;
            }
        }
    }
    writeln!(out, "{}", json!({ "rows": count }))?;
    out.into_inner().context("writing the backup")?.sync_all()?;
    tx.rollback().await?;
    store.close().await;
    Ok(count)
}

/// Gives how many rows were read.
pub(super) async fn read(config: &Config, file: &Path) -> Result<u64> {
    let opened = std::fs::File::open(file);
    let opened = opened.with_context(|| format!("reading the backup {}", file.display()))?;
    let mut lines = BufReader::new(opened).lines();
    let store = open(config).await?;
    let head: Value = serde_json::from_str(&lines.next().context("the backup is empty")??)
        .context("the backup's first line")?;
    let version = head["nearwire-control"].as_i64().context("this is no backup")?;
    ensure!(
        version == schema(store.backend()),
        "the backup has schema {version}, this program {}: restore it with the program that wrote \
         it, then bring that database up to date",
        schema(store.backend())
    );
    let mut tx = store.pool().begin().await?;
    for (table, _) in TABLES {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *tx).await?;
        ensure!(row.try_get::<i64, _>(0)? == 0, "the database is not empty: give an empty one");
    }
    let mut count = 0_u64;
    let mut whole = false;
    for line in lines {
        let line: Value = serde_json::from_str(&line?).context("a line of the backup")?;
        if let Some(rows) = line["rows"].as_u64() {
            ensure!(rows == count, "the backup says {rows} rows and has {count}");
            whole = true;
            continue;
        }
        insert(&mut tx, &line).await.with_context(|| format!("row {} of the backup", count + 1))?;
        count += 1;
    }
    ensure!(whole, "the backup is cut short: its last line is missing");
    tx.commit().await?;
    store.close().await;
    Ok(count)
}

async fn insert(tx: &mut sqlx::Transaction<'static, sqlx::Any>, line: &Value) -> Result<()> {
    let name = line[0].as_str().context("it names no table")?;
    let (table, columns) =
        TABLES.iter().find(|(table, _)| *table == name).context("no such table")?;
    let places: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let sql = format!("INSERT INTO {table} ({}) VALUES ({})", names(columns), places.join(", "));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (at, (column, kind)) in columns.iter().enumerate() {
        let value = &line[1][at];
        // Nobody speaks with a node of a restored database.
        let value = if *column == "instance" { &Value::Null } else { value };
        query = match kind {
            Text => query.bind(value.as_str().map(str::to_owned)),
            Number => query.bind(value.as_i64()),
        };
    }
    query.execute(&mut **tx).await?;
    Ok(())
}
