// Package audit keeps the audit trail: one record for every decision, written
// before the frame goes out, and an outcome for every frame that went (design
// invariants I5 and I6). Acts of people stand among them: who approved what.
//
// # On disk
//
// A trail is a directory with segments and a head file. A segment is named
// after its first entry, `00000000000000000001.jsonl`, and holds one JSON object
// a line, each ended by a line feed:
//
//	{"seq":7,"type":"record","time":"…","decision_id":"…",…,"prev":"<64 hex>","hash":"<64 hex>"}
//	{"seq":8,"type":"outcome","time":"…","decision_id":"…","outcome":{…},"prev":"…","hash":"…"}
//
// `seq` counts entries of every type from 1 without a gap, across segments.
// Types are "record", "outcome" (what became of an allowed frame), "act" (what a
// person did or tried to do, written before it takes effect), "seal" (the last
// entry of a full segment: how many records it holds, and from and until when) and
// "repair" (what [Open] found wrong with the trail, and did).
//
// # The chain
//
// `hash` is the SHA-256, in lower-case hexadecimal, of the line's bytes from its
// first one up to and without the comma before `"hash"`: the line without its
// last 75 bytes (76 with the line feed). `prev` is the hash of the entry before,
// 64 zeros in the first, and lies within what is hashed. So whatever is altered,
// removed, added or moved breaks the chain at that place. Removing the end
// breaks nothing, therefore the file `head` repeats number and hash of the last
// entry: two slots of 512 bytes, written in turn, of which the valid one with the
// higher number counts. With both, the whole check is, in Python:
//
//	import glob, hashlib, json, sys
//	seq, prev, seen = 0, "0" * 64, {0: "0" * 64}
//	for name in sorted(glob.glob(sys.argv[1] + "/*.jsonl")):
//	    for line in open(name, "rb"):
//	        e, seq = json.loads(line), seq + 1
//	        assert e["seq"] == seq and e["prev"] == prev, f"{name}: chain broken at {seq}"
//	        prev = seen[seq] = hashlib.sha256(line[:-76]).hexdigest()
//	        assert line[-76:] == b',"hash":"%s"}\n' % prev.encode(), f"{name}: entry {seq} altered"
//	head = max(map(json.loads, open(sys.argv[1] + "/head")), key=lambda h: h["seq"])
//	assert seen.get(head["seq"]) == head["hash"], "entries are missing at the end"
//
// The chain shows tampering to whoever kept an older hash. It does not stop
// somebody who may write the directory from making a whole new trail, hashes
// and head: keep the hash that `mcpermit audit verify` prints in another place.
//
// # Durability
//
// [Log.Record] returns nil when its entry is written as the fsync policy
// says; callers that wait at the same time share one write and one fsync. A
// failing or stalled device makes it return an error within the timeout, and
// what had got half-way is cut off before the next write, so that the log
// recovers by itself when the device does. After a crash [Open] drops a torn last line.
// When entries are missing that the head file knows of, Open goes on numbering after
// them, so the hole stays visible for good.
//
// That is for records. An outcome, which nobody waits for, is written with the next
// record, or by itself 200 ms later, so a crash may take the last ones along; an
// allowed record without an outcome says that it is not known what became of the frame.
//
// # Secrets
//
// What must not be written is masked before an entry is made; [Mask] says how, and
// what it looks for in arguments it looks for in every other text of the record too.
// Session ids are stored as hashes. Of what is left out for its size, and of the
// whole frame, the record holds a SHA-256: it gives nothing away but to somebody who
// can guess all of the rest, so a short secret wants a policy that denies it.
package audit
