import avsc from 'avsc'

/** A parsed schema or a part of one. */
export type AvroType = avsc.Type

/** The parts of a logical type that matter for reading; values are those of the type beneath. */
class Logical extends avsc.types.LogicalType {
  readonly attributes: Readonly<Record<string, unknown>>
  constructor(schema: avsc.Schema, options?: unknown) {
    super(schema, options)
    this.attributes = { ...(schema as unknown as Record<string, unknown>) }
  }
  protected override _fromValue(value: unknown): unknown {
    return value
  }
  protected override _toValue(value: unknown): unknown {
    return value
  }
}

const LOGICAL_NAMES = [
  'decimal',
  'big-decimal',
  'uuid',
  'date',
  'time-millis',
  'time-micros',
  'timestamp-millis',
  'timestamp-micros',
  'timestamp-nanos',
  'local-timestamp-millis',
  'local-timestamp-micros',
  'local-timestamp-nanos',
  'duration',
]

const LOGICAL_TYPES = Object.fromEntries(LOGICAL_NAMES.map(name => [name, Logical])) as unknown as Record<
  string,
  new (schema: avsc.Schema, options?: unknown) => avsc.types.LogicalType
>

/** Parses a schema whose logical types are to be told apart. Throws `SyntaxError` and `Error` for text that is none. */
export function parseSchema(text: string): AvroType {
  return avsc.Type.forSchema(JSON.parse(text) as avsc.Schema, { logicalTypes: LOGICAL_TYPES, wrapUnions: true })
}

/** A type without its logical meaning, and that meaning; null where it has none that counts. */
export function plainType(type: AvroType): {
  readonly plain: AvroType
  readonly logical: string | null
  readonly attributes: Readonly<Record<string, unknown>>
} {
  if (!(type instanceof Logical)) return { plain: type, logical: null, attributes: {} }
  return {
    plain: type.underlyingType,
    logical: type.typeName.slice('logical:'.length),
    attributes: type.attributes,
  }
}

/** The branches of a union; null for any other type. */
export function branchesOf(type: AvroType): readonly AvroType[] | null {
  return type.typeName.startsWith('union:') ? (type as avsc.types.WrappedUnionType).types : null
}

/** The fields of a record in their order; null for any other type. */
export function fieldsOf(type: AvroType): readonly { readonly name: string; readonly type: AvroType }[] | null {
  return type.typeName === 'record' || type.typeName === 'error' ? (type as avsc.types.RecordType).fields : null
}

/** A type as a reason shows it: `long (timestamp-micros)`, `null or string`, `record com.shop.Money`. */
export function typeText(type: AvroType): string {
  const branches = branchesOf(type)
  if (branches !== null) return branches.map(typeText).join(' or ')
  const { plain, logical } = plainType(type)
  if (plain.typeName === 'array') return `array of ${typeText((plain as avsc.types.ArrayType).itemsType)}`
  const name = plain.name === undefined ? plain.typeName : `${plain.typeName} ${plain.name}`
  return logical === null ? name : `${name} (${logical})`
}
