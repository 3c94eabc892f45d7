//! Connections on `shim.sock`: whoever can open the socket is the daemon's user.

use super::door::Unopened;
use super::outbox::Outbox;
use super::state::{Control, Shim};
use super::{Occurrence, assign, checkpoint, process, session};
use crate::Error;
use crate::protocol::{Call, Open, Phase, Reply, Room, kind};
use dauer_wire::frame::Frame;
use dauer_wire::guest::{ApiResponse, Scope, Signal, ToGuest, WindowSize, unpack};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// After a failure to accept (too many descriptors), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections as long as the process lives.
pub(super) fn accept(shim: &Arc<Shim>) -> Result<(), Error> {
    let shim = Arc::clone(shim);
    process::spawn("accept", move || {
        loop {
            let served = shim.door.accept().and_then(|stream| {
                let server = Arc::clone(&shim);
                process::spawn("connection", move || {
                    serve(&server, stream, Unopened(&server.door));
                })
                .inspect_err(|_| drop(Unopened(&shim.door)))
            });
            if let Err(error) = served {
                eprintln!("shim: {error}");
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    })
}

fn serve(shim: &Arc<Shim>, stream: UnixStream, unopened: Unopened<'_>) {
    let mut reader = &stream;
    // Somebody who thought better of it says nothing.
    let Ok(Some(frame)) = Frame::read_from(&mut reader) else {
        return;
    };
    let served = match frame.parse::<Open>() {
        Ok(Open::Control) => control(shim, stream, unopened),
        Ok(Open::Exec { command }) => {
            drop(unopened);
            session::exec(shim, stream, command)
        }
        Ok(Open::Stdin) => {
            drop(unopened);
            session::stdin(shim, &stream);
            Ok(())
        }
        Ok(Open::Look) => {
            // Who looked may not have waited.
            let _ = Frame::json(kind::EVENT, 0, &shim.event()).write_to(&mut &stream);
            Ok(())
        }
        Err(error) => Err(Error::io("read the opening of a connection")(error)),
    };
    if let Err(error) = served {
        eprintln!("shim: {error}");
    }
}

fn control(shim: &Arc<Shim>, stream: UnixStream, unopened: Unopened<'_>) -> Result<(), Error> {
    let duplicate = || {
        stream
            .try_clone()
            .map_err(Error::io("duplicate a connection"))
    };
    let outbox = Arc::new(Outbox::default());
    let (writer, handle) = (duplicate()?, duplicate()?);
    let body = {
        let outbox = Arc::clone(&outbox);
        move || outbox.run(writer, |_| {})
    };
    process::spawn("control out", body)?;
    shim.adopt(Control {
        outbox: Arc::clone(&outbox),
        stream: handle,
    });
    drop(unopened);
    let mut reader = &stream;
    while let Ok(Some(frame)) = Frame::read_from(&mut reader) {
        if let Err(error) = hear(shim, frame, &outbox) {
            eprintln!("shim: the daemon said something unknown: {error}");
        }
    }
    shim.forget_control(&outbox);
    outbox.close();
    Ok(())
}

fn hear(shim: &Arc<Shim>, frame: Frame, outbox: &Arc<Outbox>) -> io::Result<()> {
    match frame.kind {
        kind::CALL => {
            let call = frame.parse()?;
            answer_call(shim, frame.id, call, outbox);
            Ok(())
        }
        kind::RESPONSE => {
            let (mut response, body) = unpack::<ApiResponse>(&frame.payload)?;
            response.body = body;
            shim.answer(frame.id, response);
            Ok(())
        }
        other => Err(io::Error::other(format!("frame kind {other}"))),
    }
}

/// What takes time happens in a thread of its own: the connection goes on listening.
fn answer_call(shim: &Arc<Shim>, id: u64, call: Call, outbox: &Arc<Outbox>) {
    let reply = {
        let outbox = Arc::clone(outbox);
        move |result: Result<Reply, Error>| {
            outbox.push(Frame::json(
                kind::REPLY,
                id,
                &result.unwrap_or_else(|error| refused(&error)),
            ));
        }
    };
    match call {
        Call::Signal { signal, all } => {
            once_up(shim, move |shim| reply(deliver(shim, signal, all)))
        }
        Call::Resize { rows, columns } => {
            once_up(shim, move |shim| reply(resize(shim, rows, columns)))
        }
        Call::Checkpoint {
            checkpoint,
            freeze,
            token,
        } => {
            let shim = Arc::clone(shim);
            let take = move || reply(checkpoint::take(&shim, &checkpoint, freeze, token));
            start_or_say("checkpoint", take);
        }
        Call::Unfreeze => {
            let shim = Arc::clone(shim);
            start_or_say("unfreeze", move || {
                reply(checkpoint::unfreeze(&shim).map(|()| Reply::Done))
            });
        }
        Call::Assign { job, host_name } => once_up(shim, move |shim| {
            reply(assign::assign(shim, job, host_name).map(|()| Reply::Done));
        }),
        Call::Destroy => {
            let told = move |result: Result<(), Error>| reply(result.map(|()| Reply::Done));
            shim.tell(Occurrence::DestroyAsked(Box::new(told)));
        }
    }
}

/// An agent that is not up yet would drop it.
fn once_up(shim: &Arc<Shim>, work: impl FnOnce(&Shim) + Send + 'static) {
    if shim.phase() != Phase::Starting {
        return work(shim);
    }
    let shim = Arc::clone(shim);
    start_or_say("wait for start", move || {
        shim.wait_until_started();
        work(&shim);
    });
}

fn start_or_say(name: &str, body: impl FnOnce() + Send + 'static) {
    if let Err(error) = process::spawn_large(name, body) {
        // The caller hears nothing and asks again once it has given up; there is no thread to spare for more.
        eprintln!("shim: {error}");
    }
}

fn deliver(shim: &Shim, signal: i32, all: bool) -> Result<Reply, Error> {
    if !(1..=64).contains(&signal) {
        return Err(Error::Invalid(format!(
            "{signal} is no signal: use 1 to 64"
        )));
    }
    must_live(shim)?;
    let scope = if all { Scope::All } else { Scope::Main };
    shim.agent.push(
        ToGuest::Signal {
            session: 0,
            signal: Signal { signal, scope },
        }
        .into_frame(),
    );
    Ok(Reply::Done)
}

fn resize(shim: &Shim, rows: u16, columns: u16) -> Result<Reply, Error> {
    if !shim.incarnation.spec.tty {
        return Err(Error::Invalid(
            "the job has no terminal: it was started without -t".into(),
        ));
    }
    must_live(shim)?;
    shim.agent.push(
        ToGuest::Resize {
            session: 0,
            size: WindowSize { rows, columns },
        }
        .into_frame(),
    );
    Ok(Reply::Done)
}

fn must_live(shim: &Shim) -> Result<(), Error> {
    match shim.phase() {
        Phase::Starting | Phase::Running | Phase::Frozen { .. } => Ok(()),
        Phase::Ended { .. } => Err(Error::Gone),
    }
}

/// An error as it travels.
fn refused(error: &Error) -> Reply {
    let (code, room) = match error {
        Error::Invalid(_) => ("invalid", None),
        Error::Unsupported(_) => ("unsupported", None),
        Error::NoSpace {
            path,
            needed_bytes,
            free_bytes,
        } => (
            "no_space",
            Some(Room {
                path: path.clone(),
                needed_bytes: *needed_bytes,
                free_bytes: *free_bytes,
            }),
        ),
        Error::BadImage(_) => ("bad_image", None),
        Error::Gone => ("gone", None),
        Error::Refused(_)
        | Error::Registry(_)
        | Error::StartFailed { .. }
        | Error::Tool { .. }
        | Error::Io { .. } => ("failed", None),
    };
    Reply::Refused {
        code: code.to_owned(),
        message: error.to_string(),
        room,
    }
}
