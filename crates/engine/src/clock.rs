//! Wall-clock time, and sleeping until a moment of it.
//!
//! A suspended job wakes at a wall-clock time, so a sleep must notice when the clock is set or the machine slept: a
//! timer of the kernel on `CLOCK_REALTIME` that is cancelled by a step of the clock does, without polling.

use dauer_core::Timestamp;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::unix::AsyncFd;

/// Now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `AsyncFd` wants the raw number too, which the timer's own type does not give.
struct Timer(TimerFd);

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timer on the wall clock.
pub(crate) struct WallTimer {
    fd: AsyncFd<Timer>,
}

impl WallTimer {
    /// A timer that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, flags)?;
        // SAFETY: the timer owns its descriptor and both of its traits always give that one.
        let fd = unsafe { AsyncFd::register(Timer(timer)) }?;
        Ok(Self { fd })
    }

    /// Returns at that moment, or when the clock was set: look again then. Never without a moment.
    pub(crate) async fn sleep_until(&self, moment: Option<Timestamp>) -> io::Result<()> {
        let Some(moment) = moment else {
            return std::future::pending().await;
        };
        if moment <= now() {
            return Ok(());
        }
        let ms = u64::try_from(moment.0).unwrap_or(0);
        // A moment rounded up to the next millisecond has surely come when the timer fires.
        let at = TimeSpec::from_duration(Duration::from_millis(ms));
        let flags =
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        self.fd.get_ref().0.set(Expiration::OneShot(at), flags)?;
        loop {
            let mut ready = self.fd.readable().await?;
            match self.fd.get_ref().0.wait() {
                // Fired, or the clock was set.
                Ok(()) | Err(Errno::ECANCELED) => return Ok(()),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_at_the_moment_and_not_before() {
        let timer = WallTimer::new().unwrap();
        let mut early = 0;
        for _ in 0..5 {
            let moment = now().plus_ms(30);
            while now() < moment {
                timer.sleep_until(Some(moment)).await.unwrap();
                early += u32::from(now() < moment);
            }
        }
        // Somebody may set the clock of this machine meanwhile, but not all the time.
        assert!(early < 3, "{early} of 5 times too early");
        timer.sleep_until(Some(Timestamp(0))).await.unwrap();
    }
}
