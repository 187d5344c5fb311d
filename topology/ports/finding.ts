/** What a look at one thing came to. */
export interface Finding {
  /** What was looked at, such as `version`. */
  readonly check: string
  readonly status: 'ok' | 'warn' | 'fail'
  /** What was found and, unless it is in order, why that matters. */
  readonly message: string
  /** What to change; empty where nothing is. */
  readonly remedy: string
}
