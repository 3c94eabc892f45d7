//! The job asks the runtime API; the daemon may be there or not.

use crate::fixture::{Running, code, patient, with_each_driver};
use dauer_wire::guest::ApiResponse;

const ASK: &str = "import os, urllib.request as u\nprint(u.urlopen(os.environ['DAUER_API'] + '/v1/self', data=b'body').read().decode())";

fn reply(text: &str) -> ApiResponse {
    ApiResponse {
        status: 200,
        headers: std::collections::BTreeMap::new(),
        body: text.as_bytes().to_vec(),
    }
}

#[test]
fn a_request_waits_while_no_daemon_is_there() {
    with_each_driver(false, async |fixture| {
        let spec = fixture.spec(&["/usr/bin/python3", "-c", ASK]);
        let mut job = fixture.launch(&spec).await;
        let (id, request) = job.request().await;
        assert_eq!(
            (
                request.method.as_str(),
                request.path.as_str(),
                request.body.as_slice()
            ),
            ("POST", "/v1/self", b"body".as_slice())
        );
        // This daemon dies without an answer; the next one hears it again, and once it has answered, the one after that does not.
        drop(job);
        let (link, events) = fixture.node.connect(&spec.id, 1).await.unwrap().unwrap();
        let mut job = Running {
            link,
            events,
            requests: Vec::new(),
        };
        assert_eq!(job.request().await, (id, request));
        job.link.respond(id, reply("hello from the daemon"));
        job.link.respond(id, reply("twice"));
        assert_eq!(code(&job.ended().await), Some(0));
        assert!(job.requests.is_empty(), "{:?}", job.requests);
        assert_eq!(fixture.text(&spec).await, "hello from the daemon\n");
    });
}

#[test]
fn large_bodies_go_both_ways() {
    with_each_driver(false, async |fixture| {
        let script = "import os, urllib.request as u\nb = u.urlopen(os.environ['DAUER_API'] + '/x', data=b'q' * 1500000).read()\nprint(len(b))";
        let spec = fixture.spec(&["/usr/bin/python3", "-c", script]);
        let mut job = fixture.launch(&spec).await;
        let (id, request) = job.request().await;
        assert_eq!(request.body.len(), 1_500_000);
        job.link.respond(id, reply(&"r".repeat(1_200_000)));
        assert_eq!(code(&patient(job.ended()).await), Some(0));
        assert_eq!(fixture.text(&spec).await, "1200000\n");
    });
}
