//! Where clocks are changed, in both directions and by half hours; what expressions mean; what is refused.

use super::*;

fn calendar(expression: &str, zone: &str) -> Calendar {
    let timing = Timing::Cron {
        expression: expression.into(),
        zone: zone.into(),
    };
    Calendar::new(&timing, None, None).unwrap()
}

fn at(text: &str) -> Timestamp {
    let moment: Instant = text.parse().unwrap();
    Timestamp(moment.as_millisecond())
}

/// The next moments after this one, as UTC.
fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let calendar = calendar(expression, zone);
    let moments = std::iter::successors(calendar.next(at(after)), |at| calendar.next(*at));
    moments
        .take(count)
        .map(|at| Instant::from_millisecond(at.0).unwrap().to_string())
        .collect()
}

#[test]
fn a_time_that_does_not_exist_comes_after_the_gap_once() {
    // 02:00 to 03:00 is left out on 2027-03-28 at 01:00Z.
    let berlin = |expression| next(expression, "Europe/Berlin", "2027-03-27T12:00:00Z", 3);
    assert_eq!(
        berlin("30 2 * * *"),
        [
            "2027-03-28T01:00:00Z",
            "2027-03-29T00:30:00Z",
            "2027-03-30T00:30:00Z"
        ]
    );
    // Also where several of them, or one at its end, would come then.
    assert_eq!(
        berlin("0,15,59 2,3 28 3 *")[..2],
        ["2027-03-28T01:00:00Z", "2027-03-28T01:15:00Z"]
    );
    assert_eq!(berlin("0 2 * * *")[0], "2027-03-28T01:00:00Z");
    // On 2027-03-14 at 07:00Z.
    assert_eq!(
        next("5 2 * * *", "America/New_York", "2027-03-13T12:00:00Z", 2),
        ["2027-03-14T07:00:00Z", "2027-03-15T06:05:00Z"]
    );
}

#[test]
fn a_time_that_there_is_twice_comes_once() {
    // 02:00 to 03:00 comes twice on 2027-10-31, from 00:00Z and from 01:00Z.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00:00Z", 2),
        ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"]
    );
    // Asked in the second of the two.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2027-10-31T01:10:00Z", 1),
        ["2027-11-01T01:30:00Z"]
    );
    // 01:00 to 02:00 on 2027-11-07, from 05:00Z and from 06:00Z.
    assert_eq!(
        next(
            "0,30 1 * * *",
            "America/New_York",
            "2027-11-07T04:00:00Z",
            3
        ),
        [
            "2027-11-07T05:00:00Z",
            "2027-11-07T05:30:00Z",
            "2027-11-08T06:00:00Z"
        ]
    );
}

#[test]
fn a_rhythm_goes_on_where_clocks_are_changed() {
    let zones = [
        ("Europe/Berlin", "2027-10-30T22:00:00Z"),
        ("Europe/Berlin", "2027-03-27T23:00:00Z"),
        ("America/New_York", "2027-11-07T03:00:00Z"),
        ("America/New_York", "2027-03-14T05:00:00Z"),
        // By half an hour.
        ("Australia/Lord_Howe", "2027-04-03T13:00:00Z"),
        ("Australia/Lord_Howe", "2027-10-02T13:00:00Z"),
    ];
    for (zone, after) in zones {
        for (expression, minutes) in [("*/10 * * * *", 10), ("*/30 * * * *", 30)] {
            let found = next(expression, zone, after, 24);
            for (index, found) in found.iter().enumerate() {
                let expected = at(after).plus_ms((index as u64 + 1) * minutes * 60_000);
                assert_eq!(at(found), expected, "{expression} in {zone}");
            }
        }
    }
    assert_eq!(
        next("@hourly", "Europe/Berlin", "2027-10-30T23:30:00Z", 3),
        [
            "2027-10-31T00:00:00Z",
            "2027-10-31T01:00:00Z",
            "2027-10-31T02:00:00Z"
        ]
    );
}

#[test]
fn clocks_that_change_by_half_an_hour_are_no_different() {
    // 02:00 to 02:30 is left out on 2027-10-03 at 15:30Z the day before; 01:30 to 02:00 comes twice on 2027-04-04.
    let lord_howe = |after, count| next("15 2 * * *", "Australia/Lord_Howe", after, count);
    assert_eq!(
        lord_howe("2027-10-02T12:00:00Z", 2),
        ["2027-10-02T15:30:00Z", "2027-10-03T15:15:00Z"]
    );
    assert_eq!(
        next(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2027-04-03T12:00:00Z",
            2
        ),
        ["2027-04-03T14:45:00Z", "2027-04-04T15:15:00Z"]
    );
}

#[test]
fn fields_words_and_seconds_mean_what_they_do_elsewhere() {
    // A Saturday.
    let utc = |expression| next(expression, "UTC", "2026-11-21T10:00:00Z", 2);
    assert_eq!(
        utc("0 9 * * mon-fri"),
        ["2026-11-23T09:00:00Z", "2026-11-24T09:00:00Z"]
    );
    assert_eq!(
        utc("*/20 * * * * *"),
        ["2026-11-21T10:00:20Z", "2026-11-21T10:00:40Z"]
    );
    assert_eq!(
        utc("@daily"),
        ["2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"]
    );
    assert_eq!(
        utc("0 0 L * *"),
        ["2026-11-30T00:00:00Z", "2026-12-31T00:00:00Z"]
    );
    assert_eq!(
        utc("0 0 29 2 *"),
        ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]
    );
    // One that never comes says so, and soon.
    assert_eq!(utc("0 0 30 2 *"), <[&str; 0]>::default());
}

#[test]
fn a_moment_comes_after_a_part_of_a_second_too() {
    assert_eq!(
        next("* * * * * *", "UTC", "2026-11-21T10:00:00.999Z", 1),
        ["2026-11-21T10:00:01Z"]
    );
    assert_eq!(
        next("* * * * * *", "UTC", "2026-11-21T10:00:01Z", 1),
        ["2026-11-21T10:00:02Z"]
    );
}

#[test]
fn what_is_no_expression_and_no_zone_is_refused_in_one_line() {
    let refused = |expression: &str, zone: &str| {
        let timing = Timing::Cron {
            expression: expression.into(),
            zone: zone.into(),
        };
        match Calendar::new(&timing, None, None) {
            Err(Error::InvalidField { field, message }) => {
                assert!(!message.contains('\n'), "{message}");
                (field, message)
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{expression} in {zone} is accepted"),
        }
    };
    for expression in [
        "",
        "* * *",
        "61 * * * *",
        "0 9 * * funday",
        "@sometimes",
        "0 0 0 1 1 * 2030",
    ] {
        let (field, message) = refused(expression, "UTC");
        assert_eq!(field, "cron");
        assert!(message.contains("mon-fri"), "{message}");
    }
    let (field, message) = refused("0 9 * * *", "Europe/Berlinn");
    assert_eq!(field, "time_zone");
    assert!(message.contains("Europe/Berlinn"), "{message}");
}

#[test]
fn periods_are_counted_from_their_beginning_and_end_in_time() {
    let timing = Timing::Every {
        every_ms: 200,
        from: Timestamp(1_000),
    };
    let calendar = Calendar::new(&timing, None, Some(Timestamp(1_400))).unwrap();
    let next = |after| calendar.next(Timestamp(after)).map(|at| at.0);
    assert_eq!(next(0), Some(1_000));
    assert_eq!(next(1_000), Some(1_200));
    assert_eq!(next(1_399), Some(1_400));
    assert_eq!(next(1_400), None);
    let once = Calendar::new(&Timing::At { at: Timestamp(5) }, None, None).unwrap();
    assert_eq!(once.next(Timestamp(4)), Some(Timestamp(5)));
    assert_eq!(once.next(Timestamp(5)), None);
    let late = Calendar::new(&timing, Some(Timestamp(1_500)), None).unwrap();
    assert_eq!(late.next(Timestamp(0)), Some(Timestamp(1_600)));
}

#[test]
fn the_newest_moments_are_found_without_going_through_all_of_them() {
    let daily = calendar("0 3 * * *", "Europe/Berlin");
    let (first, now) = (at("2026-01-01T02:00:00Z"), at("2026-11-21T10:00:00Z"));
    let texts = |moments: Vec<Timestamp>| -> Vec<String> {
        let text = |at: Timestamp| Instant::from_millisecond(at.0).unwrap().to_string();
        moments.into_iter().map(text).collect()
    };
    assert_eq!(
        texts(daily.come(first, now, 2)),
        ["2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z"]
    );
    assert_eq!(daily.come(first, now, 1_000).len(), 325);
    assert_eq!(daily.come(first, first, 9), [first]);
    // Ten years of seconds.
    let seconds = calendar("* * * * * *", "UTC");
    let newest = seconds.come(at("2016-11-21T00:00:00Z"), now, 1_000);
    assert_eq!(newest.len(), 1_000);
    assert_eq!(newest.last(), Some(&now));
    assert!(
        newest
            .windows(2)
            .all(|pair| pair[1].since(pair[0]) == 1_000)
    );
}
