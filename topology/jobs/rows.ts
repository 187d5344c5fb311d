import type { FieldPlan, SourcePlan } from '../../features/plan/plan.ts'
import type { TableFile } from '../ports/table-file.ts'

/** A file or a flag does not fit the source; the message names the column and the remedy. */
export class InputError extends Error {
  readonly code = 'INPUT_INVALID'
  constructor(message: string) {
    super(message)
    this.name = 'InputError'
  }
}

/** Turns a file's rows into events' fields: by column name, with ClickHouse's 64-bit texts made numbers where they fit. */
export interface RowMapper {
  toFields(row: Readonly<Record<string, unknown>>): Record<string, unknown>
}

const WHOLE = /^-?\d{1,20}$/
/** ClickHouse's texts of doubles that are no numbers. */
const NOT_FINITE: Readonly<Record<string, number>> = { nan: Number.NaN, inf: Infinity, '-inf': -Infinity }

function toNumber(value: unknown): unknown {
  if (typeof value !== 'string') return value
  if (!WHOLE.test(value)) return NOT_FINITE[value] ?? value
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : BigInt(value)
}

const CALENDAR_TYPE =
  /^(?:Nullable\()?(?:LowCardinality\()?(?:Date|Date32|DateTime(?:\('UTC'\))?|DateTime64\(\d(?:, 'UTC')?\))\)*$/
const CALENDAR_TEXT = /^(\d{4}-\d\d-\d\d)(?: (\d\d:\d\d:\d\d(?:\.\d+)?))?$/

/** Table files are read with UTC as the zone of columns that have none. */
function toZoned(value: unknown): unknown {
  const match = typeof value === 'string' ? CALENDAR_TEXT.exec(value) : null
  return match === null ? value : `${match[1]}T${match[2] ?? '00:00:00'}Z`
}

/** @param type ClickHouse's type of the column */
function convert(field: FieldPlan, type: string, value: unknown): unknown {
  if (value === undefined || value === null) return null
  switch (field.type.kind) {
    case 'timestamp':
      return CALENDAR_TYPE.test(type) ? toZoned(value) : toNumber(value)
    case 'int':
    case 'double':
      return toNumber(value)
    case 'vector':
      return Array.isArray(value) ? value.map(toNumber) : value
    case 'boolean':
      return value === 0 || value === 1 || value === '0' || value === '1' ? Number(value) === 1 : value
    case 'int64':
      if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value)
      return typeof value === 'string' && /^-?\d+$/.test(value) ? BigInt(value) : value
    case 'string':
      return typeof value === 'number' || typeof value === 'boolean' ? String(value) : value
    case 'decimal':
      return value
  }
}

/**
 * Checks a file's columns against a source, all problems in one error. `supplied` names fields that the caller fills in
 * itself; columns in `extra` are known to the caller and not fields.
 */
export function rowMapper(
  path: string,
  file: TableFile,
  source: SourcePlan,
  supplied: readonly string[],
  extra: readonly string[],
): RowMapper {
  const columns = new Map(file.columns.map(column => [column.name, column.type]))
  const missing = source.fields.filter(f => !f.optional && !columns.has(f.name) && !supplied.includes(f.name))
  const fields = source.fields.filter(field => columns.has(field.name))
  const known = new Set([...source.fields.map(field => field.name), ...extra])
  const unknown = [...columns.keys()].filter(name => !known.has(name))
  const problems: string[] = []
  if (missing.length > 0) problems.push(`lacks the columns ${missing.map(f => f.name).join(', ')}`)
  if (unknown.length > 0 && source.unknownFields === 'refuse') {
    problems.push(
      `has columns that are no fields of it: ${unknown.join(', ')} (drop them, or set unknownFields: 'ignore' on the event)`,
    )
  }
  if (problems.length > 0)
    throw new InputError(`${path} does not fit event "${source.name}": it ${problems.join('; it ')}`)
  return {
    toFields: row => {
      const out: Record<string, unknown> = {}
      for (const field of fields) {
        const value = convert(field, columns.get(field.name) ?? '', row[field.name])
        if (value !== null) out[field.name] = value
      }
      return out
    },
  }
}
