import type { Aggregator, ByteReader, TimeMs } from '../types.ts'

/** Neighbouring rows no two of which are further apart than the gap. */
interface Run {
  start: TimeMs
  end: TimeMs
  inner: unknown
}

/** Runs in ascending order, each more than the gap after the one before. */
interface Runs {
  runs: Run[]
}

const WRAPPER_VERSION = 1

/**
 * `inner` over the session that is open at the instant of the read. The state is every run of the rows with the inner
 * state over it, so that a row which comes late can join two runs and a run that grew can still be the last one. Rows
 * whose input is null belong to their run. Of the kind of `inner`. The result is that of the last run when it ended at
 * most the gap before the instant, otherwise that of the empty inner state.
 */
export function sessionOf(inner: Aggregator, gapMs: number): Aggregator<Runs> {
  const decode = (input: ByteReader): Runs => decodeRuns(inner, gapMs, input)
  const copy = (run: Run): Run => ({ ...run, inner: inner.merge(inner.empty(), run.inner) })
  return {
    name: `session(${gapMs}) of ${inner.name}`,
    kind: inner.kind,
    version: 1000 * WRAPPER_VERSION + inner.version,
    inner,
    empty: () => ({ runs: [] }),
    add: (state, input) => {
      const { runs } = state
      let place = runs.length
      while (place > 0 && runs[place - 1]!.start > input.time) place--
      const before = runs[place - 1]
      const after = runs[place]
      const joinsBefore = before !== undefined && input.time - before.end <= gapMs
      const joinsAfter = after !== undefined && after.start - input.time <= gapMs
      if (joinsBefore) {
        before.inner = inner.add(before.inner, input)
        before.end = Math.max(before.end, input.time)
        if (joinsAfter) {
          before.inner = inner.merge(before.inner, after.inner)
          before.end = after.end
          runs.splice(place, 1)
        }
      } else if (joinsAfter) {
        after.inner = inner.add(after.inner, input)
        after.start = input.time
      } else {
        runs.splice(place, 0, { start: input.time, end: input.time, inner: inner.add(inner.empty(), input) })
      }
      return state
    },
    merge: (left, right) => ({ runs: union(inner, gapMs, left.runs.map(copy), right.runs.map(copy)) }),
    absorb: (state, input) => {
      state.runs = union(inner, gapMs, state.runs, decode(input).runs)
      return state
    },
    result: (state, at) => {
      const last = state.runs.at(-1)
      const open = last !== undefined && at.t - last.end <= gapMs
      return inner.result(open ? last.inner : inner.empty(), { t: at.t, lengthMs: null })
    },
    encode: (state, out) => {
      out.varint(state.runs.length)
      for (const run of state.runs) {
        out.int(run.start)
        out.varint(run.end - run.start)
        inner.encode(run.inner, out)
      }
    },
    decode,
  }
}

/** Both lists in order, runs within the gap joined; the runs given are changed and taken over. */
function union(inner: Aggregator, gapMs: number, left: readonly Run[], right: readonly Run[]): Run[] {
  const runs: Run[] = []
  let fromLeft = 0
  let fromRight = 0
  while (fromLeft < left.length || fromRight < right.length) {
    const a = left[fromLeft]
    const b = right[fromRight]
    const takeLeft = b === undefined || (a !== undefined && a.start <= b.start)
    const next = (takeLeft ? left[fromLeft++] : right[fromRight++])!
    const last = runs.at(-1)
    if (last !== undefined && next.start - last.end <= gapMs) {
      last.inner = inner.merge(last.inner, next.inner)
      last.end = Math.max(last.end, next.end)
    } else {
      runs.push(next)
    }
  }
  return runs
}

function decodeRuns(inner: Aggregator, gapMs: number, input: ByteReader): Runs {
  const length = input.varint()
  const runs: Run[] = []
  for (let place = 0; place < length; place++) {
    const start = input.int()
    const end = start + input.varint()
    const before = runs[place - 1]
    if (!Number.isSafeInteger(end) || (before !== undefined && start - before.end <= gapMs)) {
      throw new RangeError(`the run from ${start} to ${end} of a session with a gap of ${gapMs} ms is out of place`)
    }
    runs.push({ start, end, inner: inner.decode(input) })
  }
  return { runs }
}
