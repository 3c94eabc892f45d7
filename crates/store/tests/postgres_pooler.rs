//! Behind a pooler that gives each transaction another connection, also where nobody says that it is there.

mod servers;
mod small;

use dauer_core::NodeId;
use dauer_core::Timestamp;
use dauer_store::conformance::model::{Model, Op, numbers};
use dauer_store::{Leases, Notice, Postgres, Store};
use servers::postgres::{Server, at, command, free_port, give_away};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

struct Pooler {
    process: Child,
    port: u16,
}

impl Pooler {
    /// Before this server; nothing, and a line that says so, where the machine has none.
    fn before(server: &Server) -> Option<Self> {
        let program = Path::new("/usr/sbin/pgbouncer");
        if !program.is_file() {
            println!("skipped: pgbouncer is not installed here (package pgbouncer)");
            return None;
        }
        let (port, folder) = (free_port(), server.folder());
        let users = folder.join("users.txt");
        std::fs::write(&users, "\"dauer\" \"\"\n").unwrap();
        let settings = folder.join("pgbouncer.ini");
        std::fs::write(
            &settings,
            format!(
                "[databases]\npostgres = host=127.0.0.1 port={} dbname=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\npool_mode = transaction\nauth_type = trust\nauth_file = {}\n\
                 default_pool_size = 4\n",
                server.port(),
                users.display()
            ),
        )
        .unwrap();
        give_away(&users);
        give_away(&settings);
        let mut process = command(program)
            .arg(&settings)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines.by_ref().map_while(Result::ok) {
            if line.contains("process up") {
                std::thread::spawn(move || lines.for_each(drop));
                return Some(Self { process, port });
            }
            said.push(line);
        }
        let ended = process.wait().unwrap();
        panic!("pgbouncer did not start ({ended}): {said:?}");
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_everything_is_as_without() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    let Some(pooler) = Pooler::before(&server) else {
        return;
    };
    for (schema, more) in [("found_out", ""), ("told", "&pgbouncer=true")] {
        let url = at(pooler.port, &format!("schema={schema}{more}"));
        let store = Postgres::connect(&url).await.unwrap();
        let mut model = Model::default();
        for number in numbers(11).take(300) {
            model.write(&store, &Op::of(number)).await;
        }
        model.compare(&store).await;
        let until = Timestamp(1);
        let lease = store.take_lease(&NodeId::from("a"), None, until).await;
        assert_eq!(lease.unwrap().epoch, 1);
        println!("{schema}: as the model says");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_is_noticed_with_a_pooler_and_without() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    let one = Postgres::connect(&server.url("schema=word")).await.unwrap();
    let mut heard = one.notices().unwrap();
    let other = Postgres::connect(&server.url("schema=word")).await.unwrap();
    let made = small::job(1);
    other
        .create(made.clone(), small::entry("created"))
        .await
        .unwrap();
    until(&mut heard, &Notice::Job(made.id)).await;
    until(&mut heard, &Notice::Work).await;
    let Some(pooler) = Pooler::before(&server) else {
        return;
    };
    let pooled = Postgres::connect(&at(pooler.port, "schema=word"))
        .await
        .unwrap();
    let mut looked = pooled.notices().unwrap();
    // Both ways: who cannot listen is heard, and looks.
    let made = small::job(2);
    pooled
        .create(made.clone(), small::entry("created"))
        .await
        .unwrap();
    until(&mut heard, &Notice::Job(made.id)).await;
    let made = small::job(3);
    other
        .create(made.clone(), small::entry("created"))
        .await
        .unwrap();
    until(&mut looked, &Notice::Job(made.id)).await;
    until(&mut looked, &Notice::Work).await;
}

async fn until(heard: &mut tokio::sync::broadcast::Receiver<Notice>, wanted: &Notice) {
    while heard.recv().await.unwrap() != *wanted {}
}
