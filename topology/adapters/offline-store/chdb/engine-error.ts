/** An error as ClickHouse's HTTP interface reports it. */
export interface EngineError {
  readonly code: number
  /** `Code: N. DB::Exception: … (NAME)`. */
  readonly text: string
  readonly status: number
}

const STATUS_OF_CODE: ReadonlyMap<number, number> = new Map([
  [46, 404],
  [47, 404],
  [48, 501],
  [50, 404],
  [56, 404],
  [60, 404],
  [73, 404],
  [81, 404],
  [115, 404],
  [159, 408],
  [164, 403],
  [202, 503],
  [241, 500],
  [307, 413],
  [497, 403],
])

const SERVER_SIDE = new Set([32, 33, 49, 74, 75, 76, 209, 210, 236, 242, 243, 252, 1000, 1001])

/** The HTTP status ClickHouse answers with for an error code. */
export function statusOfCode(code: number): number {
  return STATUS_OF_CODE.get(code) ?? (SERVER_SIDE.has(code) ? 500 : 400)
}

/** An error thrown by this adapter itself, in ClickHouse's own form. */
export class HttpFailure extends Error {
  readonly failure: EngineError
  constructor(code: number, name: string, message: string, status = statusOfCode(code)) {
    const text = `Code: ${code}. DB::Exception: ${message} (${name})`
    super(text)
    this.name = 'HttpFailure'
    this.failure = { code, text, status }
  }
}

/**
 * Turns whatever the engine threw into ClickHouse's text. Names of spool files, which mean nothing to a caller, are
 * taken out, and so is the prefix that the engine repeats when it rethrows.
 */
export function toEngineError(error: unknown, spoolPath?: string): EngineError {
  if (error instanceof HttpFailure) return error.failure
  let text = error instanceof Error ? error.message : String(error)
  if (spoolPath !== undefined) {
    text = text.split(`: (in file/uri ${spoolPath})`).join('')
    text = text.split(spoolPath).join('(request body)')
    text = text.split(': While executing File: data for INSERT was parsed from file').join('')
    text = text.split(': data for INSERT was parsed from file').join('')
  }
  text = text.replace(/^(?:Code: \d+\. DB::(?:Errno)?Exception: )+(?=Code: \d+\. DB::)/, '')
  const code = Number(/^Code: (\d+)\./.exec(text)?.[1] ?? 1002)
  if (!/^Code: \d+\./.test(text)) text = `Code: 1002. DB::Exception: ${text} (UNKNOWN_EXCEPTION)`
  return { code, text, status: statusOfCode(code) }
}
