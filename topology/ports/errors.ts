/** The closed set of what can go wrong behind a port. */
export type PortErrorCode =
  | 'TOPIC_MISMATCH'
  | 'UNKNOWN_TOPIC'
  | 'RECORD_TOO_LARGE'
  | 'STORE_UNAVAILABLE'
  | 'LOG_UNAVAILABLE'
  | 'QUERY_FAILED'
  | 'MODEL_INVALID'
  | 'MODEL_NOT_FOUND'
  | 'MODEL_RUN'
  | 'SCHEMA_MISMATCH'
  | 'REGISTRY_UNAVAILABLE'
  | 'CATALOGUE_REPLACED'
  | 'SERVER_FAILED'
  | 'SERVER_UNAVAILABLE'
  | 'CLOSED'

/** The one error class of the ports. The message names what was wrong and the remedy. */
export class PortError extends Error {
  readonly code: PortErrorCode
  constructor(code: PortErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'PortError'
    this.code = code
  }
}
