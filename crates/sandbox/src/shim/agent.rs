//! What the agent says, and where it goes.

use super::Occurrence;
use super::state::Shim;
use dauer_wire::frame::Frame;
use dauer_wire::guest::{FromGuest, PROTOCOL, Start, StartFailure, ToGuest, WindowSize};
use dauer_wire::http::exec_kind;
use std::fs::File;

/// Reads frames until the agent is gone. The body of a thread.
pub(super) fn listen(shim: &Shim, mut channel: File) {
    loop {
        match Frame::read_from(&mut channel) {
            Ok(Some(frame)) => {
                if let Err(error) = FromGuest::from_frame(frame).map(|message| hear(shim, message))
                {
                    eprintln!("shim: the agent said something unknown: {error}");
                }
            }
            Ok(None) => break,
            Err(error) => {
                // A sandbox that is killed dies in the middle of a frame.
                eprintln!("shim: the channel broke: {error}");
                break;
            }
        }
    }
    shim.agent_is_gone();
    shim.tell(Occurrence::ChannelClosed);
}

/// Writes frames until the agent is gone. The body of a thread.
pub(super) fn talk(shim: &Shim, channel: File) {
    shim.agent.run(channel, |_| {});
}

fn hear(shim: &Shim, message: FromGuest) {
    match message {
        FromGuest::Hello(PROTOCOL) => {}
        FromGuest::Hello(other) => shim.tell(Occurrence::StartFailed(StartFailure {
            code: 125,
            message: format!("the guest agent speaks protocol {other}, this program {PROTOCOL}: install both from one release"),
        })),
        FromGuest::Started { session: 0, pid } => {
            shim.started(pid);
            shim.tell(Occurrence::Started);
        }
        FromGuest::StartFailed { session: 0, failure } => shim.tell(Occurrence::StartFailed(failure)),
        FromGuest::Exited { session: 0, status } => shim.tell(Occurrence::Exited(status)),
        FromGuest::Output { session: 0, stream, bytes } => shim.output.append(stream, &bytes),
        FromGuest::Consumed { session: 0, bytes } => shim.stdin.give(bytes as usize),
        FromGuest::Started { .. } => {}
        FromGuest::StartFailed { session, failure } => {
            last(shim, session, Frame::json(exec_kind::FAILED, 0, &failure));
        }
        FromGuest::Exited { session, status } => last(shim, session, Frame::json(exec_kind::EXITED, 0, &status)),
        FromGuest::Output { session, stream, bytes } => match shim.session(session) {
            Some(session) => session.outbox.push(Frame::new(exec_kind::OUTPUT, stream as u64, bytes)),
            // Whoever asked for it is gone; it may have said so before this was sent.
            None => shim.agent.push(ToGuest::Close { session }.into_frame()),
        },
        FromGuest::Consumed { session, bytes } => {
            if let Some(session) = shim.session(session) {
                session.input.give(bytes as usize);
            }
        }
        FromGuest::Request { id, request } => shim.ask(id, request),
        FromGuest::Quiesced(quiesced) => shim.set_quiesced(quiesced),
    }
}

fn last(shim: &Shim, session: u64, frame: Frame) {
    if let Some(session) = shim.session(session) {
        session.finish(frame);
    }
}

/// What a fresh agent finds in its channel when it comes up: who it is for, and what it is to run.
pub(super) fn instruct(shim: &Shim) {
    shim.agent.push(ToGuest::Start(start(shim)).into_frame());
}

fn start(shim: &Shim) -> Start {
    let spec = &shim.incarnation.spec;
    Start {
        job: spec.job.clone(),
        generation: spec.generation,
        shared_network: spec.network == dauer_core::Network::Host,
        command: dauer_wire::guest::Command {
            argv: spec.argv.clone(),
            env: spec.env.clone(),
            workdir: spec.workdir.clone(),
            user: spec.user.clone(),
            tty: spec.tty.then(WindowSize::default),
            stdin: spec.stdin,
        },
    }
}

/// The end of a session whose agent is gone.
pub(super) fn hang_up(shim: &Shim) {
    for session in shim.sessions() {
        let status = dauer_wire::guest::ExitStatus {
            code: None,
            signal: Some(libc::SIGKILL),
        };
        session.finish(Frame::json(exec_kind::EXITED, 0, &status));
    }
}
