import type { Value } from '../../../../features/kernel/types.ts'
import { FeatureStatus as WireStatus, NullValue } from '../../../../protos/gen/headwater/types/v1/value.ts'
import type { Value as WireValue } from '../../../../protos/gen/headwater/types/v1/value.ts'
import type { FeatureStatus } from '../../../ports/score-record.ts'
import { ServerError } from '../../../ports/server.ts'
import type { Fields } from '../../../ports/server.ts'

const MAX_DEPTH = 8

/** A value off the wire; an int64 that a double holds exactly becomes a number. */
export function fromWire(value: WireValue, depth = 0): Value {
  const { kind } = value
  switch (kind?.$case) {
    case undefined:
    case 'nullValue':
      return null
    case 'boolValue':
    case 'doubleValue':
    case 'stringValue':
      return kind.value
    case 'int64Value': {
      const number = Number(kind.value)
      return Number.isSafeInteger(number) ? number : kind.value
    }
    case 'vectorValue':
      return kind.value.values
    case 'listValue':
      if (depth >= MAX_DEPTH) throw new ServerError('INVALID_REQUEST', `a list is nested more than ${MAX_DEPTH} deep`)
      return kind.value.values.map(item => fromWire(item, depth + 1))
  }
}

/** A value for the wire: a number is always a double, a bigint an int64, an array a list, so that kinds never vary. */
export function toWire(value: Value): WireValue {
  if (value === null) return WIRE_NULL
  if (typeof value === 'number') return { kind: { $case: 'doubleValue', value } }
  if (typeof value === 'string') return { kind: { $case: 'stringValue', value } }
  if (typeof value === 'boolean') return { kind: { $case: 'boolValue', value } }
  if (typeof value === 'bigint') return { kind: { $case: 'int64Value', value } }
  return { kind: { $case: 'listValue', value: { values: value.map(toWire) } } }
}

const WIRE_NULL: WireValue = { kind: { $case: 'nullValue', value: NullValue.NULL_VALUE_UNSPECIFIED } }

/** Fields off the wire; each is a property of the object's own, whatever its name. */
export function fieldsFromWire(fields: ReadonlyMap<string, WireValue>): Fields {
  const record: Record<string, Value> = {}
  for (const [name, value] of fields) {
    if (name !== '__proto__') record[name] = fromWire(value)
    else Object.defineProperty(record, name, { value: fromWire(value), enumerable: true })
  }
  return record
}

/** Fields for the wire. */
export function fieldsToWire(fields: Fields): Map<string, WireValue> {
  const wire = new Map<string, WireValue>()
  for (const name of Object.keys(fields)) wire.set(name, toWire(fields[name] ?? null))
  return wire
}

const TO_WIRE: Readonly<Record<FeatureStatus, WireStatus>> = {
  fresh: WireStatus.FEATURE_STATUS_FRESH,
  stale: WireStatus.FEATURE_STATUS_STALE,
  default: WireStatus.FEATURE_STATUS_DEFAULT,
  missing: WireStatus.FEATURE_STATUS_MISSING,
  out_of_range: WireStatus.FEATURE_STATUS_OUT_OF_RANGE,
}
const FROM_WIRE = new Map<WireStatus, FeatureStatus>(
  Object.entries(TO_WIRE).map(([status, wire]) => [wire, status as FeatureStatus]),
)

type Statuses = Readonly<Record<string, FeatureStatus>>

const wireStatuses = new WeakMap<Statuses, Map<string, WireStatus>>()

/** Statuses for the wire; answers share status objects, so each is converted once. */
export function statusesToWire(statuses: Statuses): Map<string, WireStatus> {
  let wire = wireStatuses.get(statuses)
  if (wire === undefined) {
    wire = new Map(Object.entries(statuses).map(([name, status]) => [name, TO_WIRE[status]]))
    wireStatuses.set(statuses, wire)
  }
  return wire
}

/** Statuses off the wire; one this client does not know counts as missing. */
export function statusesFromWire(statuses: ReadonlyMap<string, WireStatus>): Record<string, FeatureStatus> {
  return Object.fromEntries([...statuses].map(([name, status]) => [name, FROM_WIRE.get(status) ?? 'missing']))
}
