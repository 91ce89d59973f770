//! The engine in a simulated world: random wishes, programs and troubles, and a cut at every place where
//! the daemon can die. After the troubles everything must be as wanted, and nothing may be left over.
//!
//! A failing run prints `SEED:PLACE:CUT`; `EDGELET_SIM=SEED:PLACE:CUT cargo test -p edgelet-engine --test
//! sim replay -- --nocapture` runs it again with the engine's log. `EDGELET_SIM_SEEDS=N` runs more seeds.

mod check;
mod driver;
mod ledger;
mod rng;
mod scenario;
mod world;

use driver::Counts;
use scenario::Scenario;
use std::time::Instant;

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The daemon; containers live on.
    Daemon,
    /// The machine.
    Power,
    /// Both in turn, again and again.
    Often,
}

/// A deliberate fault of the world around the engine, to see whether the simulation can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutant {
    #[default]
    /// No fault.
    None,
    /// The ledger drops the journal's entries.
    ForgetsTraces,
    /// The ledger acknowledges updates of workloads and drops them.
    ForgetsIntents,
    /// A look at the machine shows no instance.
    LooksAreBlind,
    /// The monotonic clock runs twice as fast, so that every wait is too short.
    ClockIsFast,
}

fn seeds(default: u64) -> u64 {
    std::env::var("EDGELET_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn run(seed: u64, at: Option<u64>, cut: Cut) -> Counts {
    driver::run(&Scenario::new(seed), at, cut, Mutant::None).unwrap_or_else(|broken| {
        let place = at.map_or(String::new(), |at| at.to_string());
        panic!("EDGELET_SIM={seed}:{place}:{cut:?} breaks a promise: {broken}")
    })
}

fn add(total: &mut Counts, one: Counts) {
    total.places += one.places;
    total.cuts += one.cuts;
    total.steps += one.steps;
    total.starts += one.starts;
    total.commits += one.commits;
    total.crashes += one.crashes;
    total.fallbacks += one.fallbacks;
}

#[test]
fn a_cut_at_any_place_leads_back_to_what_is_wanted() {
    let (begun, mut total, mut runs) = (Instant::now(), Counts::default(), 0);
    for seed in 0..seeds(30) {
        let whole = run(seed, None, Cut::Daemon);
        add(&mut total, whole);
        runs += 1;
        for at in 0..whole.places {
            for cut in [Cut::Daemon, Cut::Power] {
                add(&mut total, run(seed, Some(at), cut));
                runs += 1;
            }
        }
    }
    println!("simulated in {:?}: {runs} runs, {total:?}", begun.elapsed());
}

#[test]
fn many_cuts_in_one_run_lead_back_to_what_is_wanted() {
    let (begun, mut total) = (Instant::now(), Counts::default());
    let seeds = seeds(10_000);
    for seed in 0..seeds {
        add(&mut total, run(1_000_000 + seed, Some(seed % 50), Cut::Often));
    }
    println!("simulated in {:?}: {seeds} runs, {total:?}", begun.elapsed());
    let Counts { cuts, crashes, fallbacks, .. } = total;
    assert!(
        cuts > seeds && crashes > seeds / 2 && fallbacks > 0,
        "the worlds are too peaceful to prove anything"
    );
}

#[test]
fn the_simulation_can_fail() {
    let mutants = [
        (Mutant::ForgetsTraces, "containers are wanted, and there are"),
        (Mutant::ForgetsIntents, "was promised"),
        (Mutant::LooksAreBlind, "runs as wanted and is removed"),
        (Mutant::ClockIsFast, "its back-off ends at"),
    ];
    for (mutant, words) in mutants {
        let broken: Vec<String> = (0..200)
            .filter_map(|seed| {
                driver::run(&Scenario::new(seed), Some(30 + seed % 50), Cut::Daemon, mutant).err()
            })
            .collect();
        println!("{mutant:?}: caught in {} of 200 runs", broken.len());
        assert!(
            broken.iter().any(|text| text.contains(words)),
            "{mutant:?} is not caught as such: {broken:?}"
        );
    }
}

#[test]
fn replay() {
    let Ok(text) = std::env::var("EDGELET_SIM") else { return };
    env_logger::builder().filter_level(log::LevelFilter::Debug).init();
    let mut words = text.split(':');
    let seed = words.next().and_then(|word| word.parse().ok()).expect("a seed");
    let at = words.next().and_then(|word| word.parse().ok());
    let cut = match words.next() {
        Some("Power") => Cut::Power,
        Some("Often") => Cut::Often,
        _ => Cut::Daemon,
    };
    println!("{:#?}", Scenario::new(seed));
    println!("{:?}", run(seed, at, cut));
}
