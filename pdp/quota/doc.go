// Package quota counts what calls use, and refuses what is too much (design
// invariant I7).
package quota
