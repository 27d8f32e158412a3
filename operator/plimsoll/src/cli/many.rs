//! Very many problems of one object: nobody mends them all at once, and to find the place of each costs the size of the object.

use plimsoll_api::{Level, Problem};

/// Problems of one object that are told.
const MOST: usize = 100;

/// Leaves the first ones, errors before warnings; gives the number of the others.
pub(super) fn cut(problems: &mut Vec<Problem>) -> usize {
    if problems.len() <= MOST {
        return 0;
    }
    problems.sort_by_key(|problem| problem.level != Level::Error);
    problems.split_off(MOST).len()
}

/// Tells that there are so many more, where the last one is that is told.
pub(super) fn tell(more: usize, problems: &mut Vec<Problem>) {
    let Some(last) = problems.last().filter(|_| more > 0) else { return };
    let message = format!("{more} more problems of this object are not told");
    let problem = Problem { level: last.level, ..Problem::error(last.path.clone(), message) };
    problems.push(problem.help("mend the others first"));
}
