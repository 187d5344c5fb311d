/** Time as an argument. `nowMs` is UTC milliseconds; `monotonicMs` never goes back and has sub-millisecond parts. */
export interface Clock {
  nowMs(): number
  monotonicMs(): number
}
