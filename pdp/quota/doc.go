// Package quota counts what calls use, and refuses what is too much.
//
// # The promise (design invariant I7)
//
// Under the terms that are in force, what is granted in a window and not given
// back never adds up to more than the limit: whatever comes at the same time,
// over however many replicas, and whoever dies in between. Amounts are exact
// decimals; nothing on the way is a float, and nothing is rounded in favour of
// the caller.
//
// The other way round the promise is weaker, on purpose. These count although
// they may not have been used:
//   - a reservation whose outcome in the store is not known, because the
//     connection broke or the time was over;
//   - a call of which nobody said what became of it: its PEP died, or its
//     upstream may have acted;
//   - what is given back more than an hour after it was reserved;
//   - what has been merged, for a little longer (below).
//
// # Reserving
//
// [Ledger.Reserve] takes a call's costs from all its limits or from none, at the
// decision. There is no committing: a reservation counts from the beginning, and
// [Ledger.Release] gives it back, once, exactly, when the call certainly did not
// happen. A limit that has no room is no error of the ledger: ErrExceeded comes
// with a [Use] for each limit. Everything else that is an error has to end in a
// denial. Two limits of one call that name the same counter with different terms
// are a mistake in the policy (*ConflictError).
//
// Reserve gives up when its context ends, with ErrUnavailable. What was reserved
// for a caller after it had left is given back by the ledger itself.
//
// # Counters
//
// A counter is one quota, by count or by amount, as used by one combination of
// what it is counted per. Its limit and its window are not part of it. So a
// policy may change them and what is used stays used, as far as it is still
// known: a counter keeps what the longest window that was ever asked of it
// needs, until nothing of it is used any more. A window that is longer than
// all before it starts with what there is.
//
// # Windows
//
//   - Sliding: what was taken at t counts before t+length, and no longer.
//   - Calendar: what was taken counts until the unit is over, by the clock of a
//     time zone: days have 23 or 25 hours when the clocks change, weeks begin on
//     Monday, and an hour that the clock shows twice is two.
//   - Rate, with a burst: a bucket of the size of the burst, which drains by the
//     limit in each window, steadily (GCRA). So from any moment on, no more than
//     the burst and what has drained since is taken. When the terms change, what
//     is in the bucket stays in it. A reservation that is older than a window
//     has drained and gives nothing back; a limit of 0 gives nothing at all.
//
// The time of a counter never goes back: a call whose clock is behind counts at
// the time of the last one. A clock far ahead holds a counter up until the others
// get there, or until it is reset.
//
// # The log
//
// For all kinds alike, a counter is a log of entries (time, amount), and for
// rates the level of the bucket before the first of them. It is exact up to 512
// entries. Beyond that, entries that are closer together than 1/256 of the window
// are merged, to the later time: what they stand for counts up to that much
// longer, and never shorter. What is merged in a calendar's unit is still of the
// same unit. Where calls ask one counter about windows of different lengths,
// 1/256 is that of the longest, and 1/128 of the shortest within the shortest.
//
// # Stores
//
// A [Store] runs the ledger's functions on the counters, and keeps the result,
// atomically. Callers that wait at the same time share one transaction, so that a
// counter that everybody wants costs one commit for many calls, and a single call
// does not wait. Quotas by amount and by count may be in two stores. Then counts
// are reserved first, as the cheaper ones to give back, and given back when
// the amounts refuse; should that fail, they stay counted.
//
// A counter that is of no use any more, and a reservation that can't be given
// back any more, are deleted by the store in passing.
package quota
