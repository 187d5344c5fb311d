import { typeText } from '../encoding.ts'
import type { Aggregator, FieldType } from '../types.ts'

/** A whole-number parameter; `default` null means that the author must state it. */
export interface IntegerParam {
  readonly kind: 'integer'
  readonly min: number
  readonly max: number
  readonly default: number | null
  readonly doc: string
}

/** A yes-or-no parameter. */
export interface BooleanParam {
  readonly kind: 'boolean'
  readonly default: boolean
  readonly doc: string
}

/** A parameter that is any finite number within bounds; `default` null means that the author must state it. */
export interface NumberParam {
  readonly kind: 'number'
  readonly min: number
  readonly max: number
  readonly default: number | null
  readonly doc: string
}

/** A list of finite numbers in strictly ascending order. */
export interface NumbersParam {
  readonly kind: 'numbers'
  readonly minLength: number
  readonly maxLength: number
  readonly doc: string
}

/** A list of different strings, each well-formed; their order is kept. */
export interface StringsParam {
  readonly kind: 'strings'
  readonly minLength: number
  readonly maxLength: number
  readonly doc: string
}

type Param = IntegerParam | BooleanParam | NumberParam | NumbersParam | StringsParam

/** The parameters of a family by name, in the order in which its canonical name lists them. */
export type ParamSpecs = Readonly<Record<string, Param>>

/** The value of one parameter. */
export type ParamValue = number | boolean | string | readonly number[] | readonly string[]

/** Parameters as a plan stores them, before they are checked. */
export type RawParams = Readonly<Record<string, ParamValue>>

/** Checked parameters, defaults filled in. */
export type Params<P extends ParamSpecs> = {
  readonly [K in keyof P]: P[K] extends IntegerParam | NumberParam
    ? number
    : P[K] extends BooleanParam
      ? boolean
      : P[K] extends NumbersParam
        ? readonly number[]
        : readonly string[]
}

/**
 * How an answer of SQL over the same rows compares: `exact` equal; `kernel` there is no SQL that gives it, so the kernel
 * runs over rows read from the offline store; `float` near, for ClickHouse rounds on the way:
 *
 * - sums, and what is made of one sum (means, the variance, decay, vectors): within 1e-12 of Σ|terms|. The terms of a mean
 *   are the values over n, of a variance their squares over its divisor. A standard deviation is compared by its square.
 * - skew and kurtosis, quotients of central moments whose errors add up: within 1e-9 of the value.
 * - the rest (median, entropy, ratios, a mean of gaps), whose terms have one sign: within 1e-12 of the value.
 *
 * "Of the value" is of 1 where the value is less. To that comes, among numbers below 2^−1022, a unit of 2^−1074 per
 * term; and a value that is as near to the largest double as that may be Infinity in one of the two.
 */
export type Exactness = 'exact' | 'float' | 'kernel'

/**
 * The rows of one window as ClickHouse sees them: array expressions of equal length in the total order
 * (time, id, cell). Rows whose input is null are left out already, except for `count()` and others without an input,
 * where `cells` must not be used.
 */
export interface SqlRows {
  /** Array(Int64): event times. */
  readonly times: string
  /** Array(String): event ids. */
  readonly ids: string
  /**
   * Array of the input's values as ClickHouse holds them, none Nullable: String, Bool, Int64 (int, int64, timestamp),
   * Float64, Decimal(18, scale) (the author's value), Array(Float64).
   */
  readonly cells: string
  /** The second input, Nullable values of its type; rows where only this one is null are still there. */
  readonly bys: string
  /** Int64 expression: the last instant that the window covers, as `ReadAt.t`. */
  readonly t: string
  /** The window's declared length in milliseconds, as `ReadAt.lengthMs`. */
  readonly lengthMs: number | null
}

/** What is known of an aggregator family before it meets a field. */
export interface AggregatorDescriptor {
  readonly family: string
  readonly params: ParamSpecs
  /** Formula, value when empty, rule for NaN, exactness and bytes of state. */
  readonly doc: string
  readonly kind: Aggregator['kind']
  /** How its answers compare with those of SQL; `kernel` where there is no SQL. */
  readonly exactness: Exactness
  /** Whether SQL answers only as long as the rows stay within a bound, which `sqlHolds` tells. */
  readonly sqlBounded: boolean
  /** Whether a field of this type may be the input; null asks for use without an input. */
  accepts(inputType: FieldType | null): boolean
  /** Whether a field of this type may be the second input; null asks for use without one. */
  acceptsBy(byType: FieldType | null): boolean
  /** The type of the result as TypeScript text, such as `number | null`. Throws `RangeError` as `make` does. */
  valueType(inputType: FieldType | null, params: RawParams): string
  /** Throws `RangeError` that names the family and the parameter or input type it cannot take. */
  make(inputType: FieldType | null, params: RawParams, byType?: FieldType | null): Aggregator
  /**
   * The result over the rows of a window as a ClickHouse expression; null where the exactness is `kernel`. Numbers as
   * Float64 or an integer type, a missing result as NULL (for lists: the empty array), lists as Array. Throws as `make`.
   */
  sql(rows: SqlRows, inputType: FieldType | null, params: RawParams, byType?: FieldType | null): string | null
  /**
   * The condition, as a ClickHouse expression, under which `sql` over these rows gives the kernel's answer; null where
   * it always does. Where it is 0 the kernel has gone over to an estimate, and it alone can tell. Throws as `make`.
   */
  sqlHolds(rows: SqlRows, inputType: FieldType | null, params: RawParams): string | null
}

/** The part of an aggregator that its family writes; name, kind and version are put beside it. */
export type Algebra<S> = Omit<Aggregator<S>, 'name' | 'kind' | 'version'>

/** An aggregator family with its own state type `S`, input types `T`, second input types `B` and parameters `P`. */
export interface AggregatorDefinition<P extends ParamSpecs, T extends FieldType | null, B extends FieldType | null, S> {
  readonly family: string
  readonly kind: Aggregator['kind']
  readonly version: number
  readonly params: P
  readonly doc: string
  readonly exactness: Exactness
  accepts(inputType: FieldType | null): inputType is T
  /** Left out by families without a second input. */
  acceptsBy?(byType: FieldType | null): byType is B
  valueType(inputType: T, params: Params<P>): string
  algebra(inputType: T, params: Params<P>, byType: B): Algebra<S>
  /** Left out where the exactness is `kernel`. */
  sql?(rows: SqlRows, inputType: T, params: Params<P>, byType: B): string
  /** Left out where `sql` always gives the kernel's answer. */
  sqlHolds?(rows: SqlRows, inputType: T, params: Params<P>): string
}

/** Erases a definition's types and puts the checks of parameters and input types before it. */
export function defineAggregator<
  const P extends ParamSpecs,
  T extends FieldType | null,
  S,
  B extends FieldType | null = null,
>(definition: AggregatorDefinition<P, T, B, S>): AggregatorDescriptor {
  const { family, kind, version, params, doc, exactness } = definition
  const checkedInput = (inputType: FieldType | null): T => {
    if (definition.accepts(inputType)) return inputType
    throw new RangeError(
      inputType === null ? `${family} needs a field` : `${family} takes no field of type ${typeText(inputType)}`,
    )
  }
  const acceptsBy = definition.acceptsBy ?? ((byType: FieldType | null): byType is B => byType === null)
  const checkedBy = (byType: FieldType | null): B => {
    if (acceptsBy(byType)) return byType
    throw new RangeError(
      byType === null
        ? `${family} needs a second field`
        : `${family} takes no second field of type ${typeText(byType)}`,
    )
  }
  return {
    family,
    params,
    doc,
    kind,
    exactness,
    sqlBounded: definition.sqlHolds !== undefined,
    accepts: inputType => definition.accepts(inputType),
    acceptsBy: byType => acceptsBy(byType),
    valueType: (inputType, raw) => definition.valueType(checkedInput(inputType), resolveParams(family, params, raw)),
    make: (inputType, raw, byType = null) => {
      const resolved = resolveParams(family, params, raw)
      const algebra = definition.algebra(checkedInput(inputType), resolved, checkedBy(byType))
      return {
        name: canonicalName(family, Object.values(resolved), inputType, byType),
        kind,
        version,
        ...algebra,
      }
    },
    sql: (rows, inputType, raw, byType = null) => {
      const resolved = resolveParams(family, params, raw)
      return definition.sql?.(rows, checkedInput(inputType), resolved, checkedBy(byType)) ?? null
    },
    sqlHolds: (rows, inputType, raw) => {
      const resolved = resolveParams(family, params, raw)
      return definition.sqlHolds?.(rows, checkedInput(inputType), resolved) ?? null
    },
  }
}

/** Such as `count`, `sum:decimal(2)` or `distinct(1000):string`; parameters stand in the order of their declaration. */
function canonicalName(
  family: string,
  params: readonly ParamValue[],
  inputType: FieldType | null,
  byType: FieldType | null,
): string {
  const list = params.length === 0 ? '' : `(${params.map(paramText).join(',')})`
  const by = byType === null ? '' : `,${typeText(byType)}`
  return family + list + (inputType === null ? '' : `:${typeText(inputType)}`) + by
}

function paramText(value: ParamValue): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function resolveParams<P extends ParamSpecs>(family: string, specs: P, raw: RawParams): Params<P> {
  for (const name of Object.keys(raw)) {
    if (!Object.hasOwn(specs, name)) {
      const known = Object.keys(specs).join(', ')
      throw new RangeError(`${family} has no parameter ${name}; ${known ? `it has ${known}` : 'it takes none'}`)
    }
  }
  const resolved: Record<string, ParamValue> = {}
  for (const [name, spec] of Object.entries(specs)) {
    const fallback = 'default' in spec ? spec.default : null
    resolved[name] = checkedParam(family, name, spec, Object.hasOwn(raw, name) ? raw[name] : fallback)
  }
  return resolved as Params<P>
}

type GivenParam = ParamValue | null | undefined

function checkedParam(family: string, name: string, spec: Param, given: GivenParam): ParamValue {
  switch (spec.kind) {
    case 'integer':
      return integerParam(family, name, spec, given)
    case 'number':
      return numberParam(family, name, spec, given)
    case 'boolean':
      return booleanParam(family, name, given)
    case 'numbers':
    case 'strings':
      return listParam(family, name, spec, given)
  }
}

function foundText(given: GivenParam): string {
  return given === null || given === undefined ? 'it is missing' : `not ${JSON.stringify(given)}`
}

function numberParam(family: string, name: string, spec: NumberParam, given: GivenParam): number {
  if (typeof given === 'number' && given >= spec.min && given <= spec.max) return given + 0
  throw new RangeError(
    `${family}: parameter ${name} must be a number from ${spec.min} to ${spec.max}, ${foundText(given)}`,
  )
}

function listParam(
  family: string,
  name: string,
  spec: NumbersParam | StringsParam,
  given: GivenParam,
): readonly number[] | readonly string[] {
  const { minLength, maxLength } = spec
  const items: readonly unknown[] = Array.isArray(given) ? given : []
  const size = Array.isArray(given) && items.length >= minLength && items.length <= maxLength
  if (spec.kind === 'numbers') {
    const ascending = items.every(
      (item, at) => Number.isFinite(item) && (at === 0 || Number(items[at - 1]) < Number(item)),
    )
    if (size && ascending) return (items as readonly number[]).map(item => item + 0)
  } else {
    const texts = items.every(item => typeof item === 'string' && item.isWellFormed())
    if (size && texts && new Set(items).size === items.length) return [...(items as readonly string[])]
  }
  const what = spec.kind === 'numbers' ? 'finite numbers in strictly ascending order' : 'different strings'
  throw new RangeError(
    `${family}: parameter ${name} must be a list of ${minLength} to ${maxLength} ${what}, ${foundText(given)}`,
  )
}

function integerParam(family: string, name: string, spec: IntegerParam, given: GivenParam): number {
  if (typeof given === 'number' && Number.isInteger(given) && given >= spec.min && given <= spec.max) return given
  throw new RangeError(
    `${family}: parameter ${name} must be an integer from ${spec.min} to ${spec.max}, ${foundText(given)}`,
  )
}

function booleanParam(family: string, name: string, given: GivenParam): boolean {
  if (typeof given === 'boolean') return given
  throw new RangeError(`${family}: parameter ${name} must be true or false, ${foundText(given)}`)
}
