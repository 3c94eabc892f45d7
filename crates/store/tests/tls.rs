//! Encrypted ways to a server: whose certificate is believed, and what is said where it is not.

mod servers;
mod small;

use dauer_store::{Postgres, Redis, Store};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use servers::postgres::{self, free_port, give_away};
use servers::redis;
use small::{entry, id, job};
use std::error::Error as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whoever opens a store that cannot be believed is told so at once: nobody waits for a certificate to become another one.
const SAID_WITHIN: Duration = Duration::from_secs(10);

/// A server's certificate for `localhost`, and not for its number; who signed it; and somebody else, who did not.
struct Papers {
    _folder: TempDir,
    certificate: PathBuf,
    key: PathBuf,
    signer: PathBuf,
    stranger: PathBuf,
}

impl Papers {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let authority = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            // Two of one name would be told apart by their signatures only.
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let own = params.self_signed(&key).unwrap();
            std::fs::write(path(name), own.pem()).unwrap();
            Issuer::new(params, key)
        };
        let signer = authority("signer.pem");
        authority("stranger.pem");
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &signer).unwrap();
        std::fs::write(path("server.pem"), certificate.pem()).unwrap();
        std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
        // PostgreSQL takes no key that others may read.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path("server.key"), private).unwrap();
        for name in ["server.key", "server.pem", ""] {
            give_away(&path(name));
        }
        Self {
            certificate: path("server.pem"),
            key: path("server.key"),
            signer: path("signer.pem"),
            stranger: path("stranger.pem"),
            _folder: folder,
        }
    }
}

/// An error with what caused it.
fn whole(error: &dauer_store::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        said = format!("{said}: {one}");
        cause = one.source();
    }
    said
}

/// What is said instead of opening it, at once.
async fn refused<S: Store>(opening: impl Future<Output = Result<S, dauer_store::Error>>) -> String {
    let begun = Instant::now();
    let error = match opening.await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    };
    let took = begun.elapsed();
    assert!(took < SAID_WITHIN, "{took:?}: {error}");
    whole(&error)
}

/// It keeps what it is given.
async fn is_of_use(store: &impl Store) {
    store.create(job(1), entry("created")).await.unwrap();
    assert_eq!(store.job(&id(1)).await.unwrap().id, id(1));
}

fn assert_says(said: &str, word: &str) {
    assert!(said.contains(word), "`{word}` is missing: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_reached_encrypted_and_only_where_its_certificate_is_believed() {
    let papers = Papers::new();
    let settings = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", papers.certificate.display()),
        format!("ssl_key_file={}", papers.key.display()),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let Some(server) = postgres::Server::start(&settings) else {
        return;
    };
    let (signer, stranger) = (papers.signer.display(), papers.stranger.display());
    let port = server.port();
    let url = |host: &str, schema: &str, rest: &str| {
        format!("postgres://dauer@{host}:{port}/postgres?schema={schema}&{rest}")
    };
    for (schema, host, rest) in [
        ("anybody", "127.0.0.1", "sslmode=require".to_owned()),
        ("offered", "127.0.0.1", "sslmode=prefer".to_owned()),
        (
            "chain",
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={signer}"),
        ),
        (
            "full",
            "localhost",
            format!("sslmode=verify-full&sslrootcert={signer}"),
        ),
    ] {
        let store = Postgres::connect(&url(host, schema, &rest)).await;
        let store = store.unwrap_or_else(|error| panic!("{rest}: {}", whole(&error)));
        is_of_use(&store).await;
        let plain = server
            .command("psql")
            .args(["-h", &server.folder().to_string_lossy(), "-p", &port.to_string()])
            .args(["-U", "dauer", "-qAtc"])
            .arg(
                "SELECT count(*) FILTER (WHERE ssl) > 0, count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl JOIN pg_stat_activity
                 USING (pid) WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
            )
            .arg("postgres")
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&plain.stdout).trim(),
            "t|0",
            "{rest}"
        );
    }

    let of_name = format!("sslmode=verify-full&sslrootcert={signer}");
    let said = refused(Postgres::connect(&url("127.0.0.1", "no", &of_name))).await;
    assert_says(&said, "certificate not valid for name");
    for mode in ["verify-ca", "verify-full", "require"] {
        let by = format!("sslmode={mode}&sslrootcert={stranger}");
        let said = refused(Postgres::connect(&url("localhost", "no", &by))).await;
        assert_says(&said, "UnknownIssuer");
    }
    let said = refused(Postgres::connect(&url(
        "localhost",
        "no",
        "sslmode=verify-full",
    )))
    .await;
    assert_says(&said, "UnknownIssuer");
    let nowhere = "sslmode=verify-full&sslrootcert=/nowhere.pem";
    let said = refused(Postgres::connect(&url("localhost", "no", nowhere))).await;
    assert_says(&said, "sslrootcert=/nowhere.pem cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_without_encryption_is_refused_where_it_is_required() {
    let Some(server) = postgres::Server::start(&[]) else {
        return;
    };
    let url = format!(
        "postgres://dauer@127.0.0.1:{}/postgres?sslmode=require",
        server.port()
    );
    let said = refused(Postgres::connect(&url)).await;
    assert_says(&said, "server does not support TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_encrypted_and_only_where_its_certificate_is_believed() {
    let papers = Papers::new();
    let port = free_port();
    let settings = format!(
        "--appendonly yes --appendfsync always --tls-port {port} --tls-auth-clients no --tls-cert-file {} --tls-key-file {} \
         --tls-ca-cert-file {}",
        papers.certificate.display(),
        papers.key.display(),
        papers.signer.display()
    );
    let settings: Vec<&str> = settings.split_whitespace().collect();
    let Some(_server) = redis::Server::start("redis with TLS", &settings) else {
        return;
    };
    let (signer, stranger) = (papers.signer.display(), papers.stranger.display());
    let url = |host: &str, rest: &str| format!("rediss://{host}:{port}?prefix=tls:{rest}");
    let store = Redis::connect(&url("localhost", &format!("&sslrootcert={signer}"))).await;
    is_of_use(&store.unwrap_or_else(|error| panic!("{}", whole(&error)))).await;

    let said = refused(Redis::connect(&url(
        "127.0.0.1",
        &format!("&sslrootcert={signer}"),
    )))
    .await;
    assert_says(&said, "certificate not valid for name");
    let said = refused(Redis::connect(&url(
        "localhost",
        &format!("&sslrootcert={stranger}"),
    )))
    .await;
    assert_says(&said, "UnknownIssuer");
    let said = refused(Redis::connect(&url("localhost", ""))).await;
    assert_says(&said, "UnknownIssuer");
}
