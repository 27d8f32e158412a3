//! A view that is asked for again is the same text as long as it says the same, so that a browser may keep it.

use jiff::Timestamp;
use plimsoll_page::{
    html::{self, Frame},
    runs::Runs,
};

/// The start of a minute.
const MINUTE: i64 = 1_799_999_940;

fn at(second: i64) -> String {
    let frame = Frame { now: Timestamp::from_second(second).unwrap(), notice: None };
    html::runs(&frame, &Runs::new(&[], &[], true))
}

#[test]
fn a_view_of_which_nothing_changes_is_the_same_for_a_minute() {
    assert_eq!(at(MINUTE), at(MINUTE + 59));
    assert_ne!(at(MINUTE), at(MINUTE + 60));
}
