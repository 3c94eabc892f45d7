//! The runtime API as programs inside reach it.

mod inside;

use dauer_wire::guest::{ApiRequest, ApiResponse, Command};
use inside::{Inside, answer, code, command, has, sh};
use std::collections::BTreeMap;

/// Says back what was asked.
fn mirror(request: &ApiRequest) -> ApiResponse {
    let body = String::from_utf8_lossy(&request.body);
    answer(
        200,
        &format!(
            "{} {} {}:{body}",
            request.method,
            request.path,
            request.body.len()
        ),
    )
}

/// Runs a job against the mirror; its output.
fn run(command: Command) -> String {
    let mut inside = Inside::run(command);
    assert_eq!(inside.serve(mirror), code(0));
    inside.end()
}

/// A Python program that talks raw bytes: `say`, `hear_until`, `hear_all`.
fn raw(program: &str) -> Option<Command> {
    let prelude = "\
import socket, os, sys
def dial():
    global s
    s = socket.create_connection(('127.0.0.1', 4717))
def say(b): s.sendall(b)
def hear_until(end):
    got = b''
    while not got.endswith(end):
        more = s.recv(1)
        if not more: raise SystemExit('closed after %r' % got)
        got += more
    return got
def hear_all():
    got = b''
    while True:
        more = s.recv(65536)
        if not more: return got
        got += more
dial()
";
    has("python3").then(|| command(&["python3", "-c", &format!("{prelude}{program}")]))
}

#[test]
fn curl_gets_and_posts() {
    if !has("curl") {
        return;
    }
    let line = "curl -s -i $DAUER_API/v1/self?a=1; echo; \
                curl -s -d '{}' $DAUER_API/v1/x; echo; \
                curl -s -0 $DAUER_API/old; echo; \
                curl -s -I $DAUER_API/head; \
                curl -s $DAUER_API/a $DAUER_API/b -w ' %{num_connects} '; echo; \
                echo hi | curl -s -H 'Transfer-Encoding: chunked' -T - $DAUER_API/put; \
                head -c 2000000 /dev/zero | tr '\\0' y | curl -s -H 'Expect: 100-continue' --data-binary @- $DAUER_API/big | wc -c";
    let output = run(sh(line));
    for part in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\r\nGET /v1/self?a=1 0:\n",
        "\nPOST /v1/x 2:{}\n",
        "\nGET /old 0:\n",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n",
        "GET /a 0: 1 GET /b 0: 0 \n",
        "PUT /put 3:hi\n",
        &format!("\n{}\n", "POST /big 2000000:".len() + 2_000_000),
    ] {
        let part = part.replace(
            "content-length: 21",
            &format!("content-length: {}", "GET /v1/self?a=1 0:".len()),
        );
        let part = part.replace(
            "content-length: 14",
            &format!("content-length: {}", "HEAD /head 0:".len()),
        );
        assert!(output.contains(&part), "{part:?} in {output:?}");
    }
}

#[test]
fn urllib_talks_to_it_even_with_a_proxy_set() {
    if !has("python3") {
        return;
    }
    let program = "import os, urllib.request as u\n\
        r = u.urlopen(u.Request(os.environ['DAUER_API'] + '/p', data=b'body', headers={'Content-Type': 'text/x'}))\n\
        print(r.status, r.read().decode())";
    let mut command = command(&["python3", "-c", program]);
    command
        .env
        .insert("http_proxy".into(), "http://127.9.9.9:1".into());
    assert_eq!(run(command), "200 POST /p 4:body\n");
}

#[test]
fn node_fetches_with_keep_alive() {
    if !has("node") {
        return;
    }
    let program = "(async () => { for (const n of [1, 2, 3]) { \
        const r = await fetch(process.env.DAUER_API + '/n' + n, {method: 'POST', body: 'b'.repeat(n)}); \
        console.log(r.status, await r.text()); } })()";
    assert_eq!(
        run(command(&["node", "-e", program])),
        "200 POST /n1 1:b\n200 POST /n2 2:bb\n200 POST /n3 3:bbb\n"
    );
}

#[test]
fn the_status_and_headers_of_the_server_are_passed_on() {
    let Some(command) =
        raw("say(b'GET / HTTP/1.0\\r\\n\\r\\n'); sys.stdout.buffer.write(hear_all())")
    else {
        return;
    };
    let mut inside = Inside::run(command);
    let headers = [
        ("x-a", "b"),
        ("Content-Length", "999"),
        ("connection", "upgrade"),
        ("x-bad", "a\r\nb: c"),
    ];
    let headers: BTreeMap<_, _> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let status = inside.serve(|_| ApiResponse {
        status: 409,
        headers: headers.clone(),
        body: b"no".to_vec(),
    });
    assert_eq!(status, code(0));
    assert_eq!(
        inside.end(),
        "HTTP/1.1 409 Conflict\r\nx-a: b\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order_however_they_are_cut() {
    let program = "\
text = b'POST /1 HTTP/1.1\\r\\ncontent-length: 3\\r\\n\\r\\nabcGET /2 HTTP/1.1\\r\\n\\r\\n' \\
    b'POST /3 HTTP/1.1\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n2;x=y\\r\\nde\\r\\n1\\r\\nf\\r\\n0\\r\\nt: u\\r\\n\\r\\nGET /4 HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n'
for size in [1, 7, len(text)]:
    for at in range(0, len(text), size): say(text[at:at + size])
    bodies = [line for line in hear_all().decode().split('\\r\\n') if '/' in line and ':' in line]
    print([body.split('HTTP')[0] for body in bodies if body.split()[0] in ('GET', 'POST')])
    dial()
";
    let Some(command) = raw(program) else { return };
    let line = "['POST /1 3:abc', 'GET /2 0:', 'POST /3 3:def', 'GET /4 0:']\n";
    assert_eq!(
        run(command).replace("content-type: application/json", ""),
        line.repeat(3)
    );
}

#[test]
fn a_client_that_expects_a_continue_gets_one_first() {
    let program = "\
say(b'POST /e HTTP/1.1\\r\\nexpect: 100-continue\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\n')
print(hear_until(b'\\r\\n\\r\\n').decode().strip())
say(b'ok'); print(hear_all().decode().split('\\r\\n')[-1])
";
    let Some(command) = raw(program) else { return };
    assert_eq!(run(command), "HTTP/1.1 100 Continue\nPOST /e 2:ok\n");
}

#[test]
fn what_is_too_long_or_no_http_is_refused_with_a_reason() {
    let program = "\
def status(*parts):
    dial()
    for part in parts: say(part)
    answer = hear_all()
    assert b'application/problem+json' in answer, answer
    print(answer.split()[1].decode())
status(b'POST / HTTP/1.1\\r\\ncontent-length: 2097153\\r\\n\\r\\n', b'x' * 2097153)
status(b'POST / HTTP/1.1\\r\\nexpect: 100-continue\\r\\ncontent-length: 99999999999999999999\\r\\n\\r\\n')
status(b'POST / HTTP/1.1\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n', *([b'80000\\r\\n' + b'x' * 0x80000 + b'\\r\\n'] * 5))
status(b'GET / HTTP/1.1\\r\\nx: ' + b'y' * 70000 + b'\\r\\n\\r\\n')
status(b'GET / HTTP/1.1\\r\\n' + b'x: y\\r\\n' * 200 + b'\\r\\n')
status(b'hello world\\r\\n\\r\\n')
status(b'POST / HTTP/1.1\\r\\ntransfer-encoding: chunked\\r\\n\\r\\nzz\\r\\n')
";
    let Some(command) = raw(program) else { return };
    assert_eq!(run(command), "413\n413\n413\n431\n431\n400\n400\n");
}

#[test]
fn a_client_that_leaves_disturbs_nobody() {
    let program = "\
say(b'GET /left HTTP/1.1\\r\\n\\r\\n'); s.close()
dial(); say(b'GET /half HTTP/1.1\\r\\n'); s.close()
dial(); say(b'GET /stays HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n'); print(hear_all().decode().split('\\r\\n')[-1])
";
    let Some(command) = raw(program) else { return };
    assert_eq!(run(command), "GET /stays 0:\n");
}

#[test]
fn too_many_connections_are_told_so_and_room_comes_back() {
    let program = "\
held = []
def ask():
    say(b'GET / HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n'); return hear_all().split()[1].decode()
s.close()
for n in range(256): dial(); held.append(s)
dial(); print(ask())
for h in held: h.close()
while True:
    dial()
    if ask() == '200': break
print('room')
";
    let Some(command) = raw(program) else { return };
    assert_eq!(run(command), "503\nroom\n");
}

#[test]
fn in_a_shared_network_only_the_sandbox_is_served() {
    if !has("curl") {
        return;
    }
    let mut inside = Inside::boot_in_shared_network();
    let mut command = sh("echo $DAUER_API >&2; curl -s $DAUER_API/mine; read x");
    command.stdin = true;
    inside.say_start(command, true);
    inside.started(0);
    let api = inside.output_until(0, "\n");
    let (id, request) = inside.request();
    assert_eq!(request.path, "/mine");
    inside.respond(id, answer(200, "yes"));
    let stranger = std::process::Command::new("curl")
        .args(["-s", "-w", " %{http_code}", api.trim()])
        .output()
        .unwrap();
    let stranger = String::from_utf8(stranger.stdout).unwrap();
    assert!(stranger.ends_with(" 403"), "{stranger}");
    inside.say(dauer_wire::guest::ToGuest::Input {
        session: 0,
        bytes: Vec::new(),
    });
    inside.exited(0);
    assert_eq!(inside.end(), "yes");
}
