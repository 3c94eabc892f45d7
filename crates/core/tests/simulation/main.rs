//! A daemon that dies between any two lines, against a world that is simpler than the code.
//!
//! The world knows nothing of states: it has sandboxes that count and take signals, images that hold what they remember, and a
//! disk that may lie half-written. A seed drives callers, shims, losses and crashes of the daemon. Whatever happens, after the
//! next start record and world agree, nothing lives twice, no committed progress is lost, every signal is given to the program
//! once and in order, a job that said it is done is done, with its output, and the ledger has the time that sandboxes really ran.

mod bill;
mod inbox;
mod world;

use proptest::prelude::*;
use world::Simulation;

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn record_and_world_agree_after_every_crash(
        retries in 0..3u32,
        first in (proptest::option::weighted(0.5, 0u32..6), any::<u8>()),
        happenings in proptest::collection::vec((any::<u8>(), proptest::option::weighted(0.5, 0u32..6), any::<u8>()), 1..25)
    ) {
        let mut simulation = Simulation::new(retries);
        simulation.fuse = first.0;
        if simulation.restart().is_err() {
            simulation.happen_without_a_daemon(first.1);
        }
        simulation.fuse = None;
        assert!(simulation.restart().is_ok());
        simulation.check();
        for (what, fuse, meanwhile) in happenings {
            simulation.fuse = fuse;
            let mut died = simulation.happen(what).is_err();
            // A daemon that dies may die again while it recovers.
            simulation.fuse = fuse.map(|fuse| fuse / 2);
            if died {
                simulation.happen_without_a_daemon(meanwhile);
            }
            while died {
                died = simulation.restart().is_err();
                simulation.fuse = None;
            }
            simulation.fuse = None;
            prop_assert!(simulation.restart().is_ok());
            simulation.check();
        }
    }
}
