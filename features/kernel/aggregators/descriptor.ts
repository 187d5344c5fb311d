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

/** The parameters of a family by name, in the order in which its canonical name lists them. */
export type ParamSpecs = Readonly<Record<string, IntegerParam | BooleanParam>>

/** Parameters as a plan stores them, before they are checked. */
export type RawParams = Readonly<Record<string, number | boolean | string>>

/** Checked parameters, defaults filled in. */
export type Params<P extends ParamSpecs> = {
  readonly [K in keyof P]: P[K] extends IntegerParam ? number : boolean
}

/** What is known of an aggregator family before it meets a field. */
export interface AggregatorDescriptor {
  readonly family: string
  readonly params: ParamSpecs
  /** Formula, value when empty, rule for NaN, exactness and bytes of state. */
  readonly doc: string
  /** Whether a field of this type may be the input; null asks for use without an input. */
  accepts(inputType: FieldType | null): boolean
  /** The type of the result as TypeScript text, such as `number | null`. Throws `RangeError` as `make` does. */
  valueType(inputType: FieldType | null, params: RawParams): string
  /** Throws `RangeError` that names the family and the parameter or input type it cannot take. */
  make(inputType: FieldType | null, params: RawParams): Aggregator
}

/** The part of an aggregator that its family writes; name, kind and version are put beside it. */
export type Algebra<S> = Omit<Aggregator<S>, 'name' | 'kind' | 'version'>

/** An aggregator family with its own state type `S`, input types `T` and parameters `P`. */
export interface AggregatorDefinition<P extends ParamSpecs, T extends FieldType | null, S> {
  readonly family: string
  readonly kind: Aggregator['kind']
  readonly version: number
  readonly params: P
  readonly doc: string
  accepts(inputType: FieldType | null): inputType is T
  valueType(inputType: T, params: Params<P>): string
  algebra(inputType: T, params: Params<P>): Algebra<S>
}

/** Erases a definition's types and puts the checks of parameters and input type before it. */
export function defineAggregator<const P extends ParamSpecs, T extends FieldType | null, S>(
  definition: AggregatorDefinition<P, T, S>,
): AggregatorDescriptor {
  const { family, kind, version, params, doc } = definition
  const checkedInput = (inputType: FieldType | null): T => {
    if (definition.accepts(inputType)) return inputType
    throw new RangeError(
      inputType === null ? `${family} needs a field` : `${family} takes no field of type ${typeText(inputType)}`,
    )
  }
  return {
    family,
    params,
    doc,
    accepts: inputType => definition.accepts(inputType),
    valueType: (inputType, raw) => definition.valueType(checkedInput(inputType), resolveParams(family, params, raw)),
    make: (inputType, raw) => {
      const resolved = resolveParams(family, params, raw)
      const algebra = definition.algebra(checkedInput(inputType), resolved)
      return {
        name: canonicalName(family, Object.values(resolved), inputType),
        kind,
        version,
        ...algebra,
      }
    },
  }
}

/** Such as `count`, `sum:decimal(2)` or `distinct(1000):string`; parameters stand in the order of their declaration. */
function canonicalName(family: string, params: readonly (number | boolean)[], inputType: FieldType | null): string {
  const list = params.length === 0 ? '' : `(${params.join(',')})`
  return family + list + (inputType === null ? '' : `:${typeText(inputType)}`)
}

function resolveParams<P extends ParamSpecs>(family: string, specs: P, raw: RawParams): Params<P> {
  for (const name of Object.keys(raw)) {
    if (!Object.hasOwn(specs, name)) {
      const known = Object.keys(specs).join(', ')
      throw new RangeError(`${family} has no parameter ${name}; ${known ? `it has ${known}` : 'it takes none'}`)
    }
  }
  const resolved: Record<string, number | boolean> = {}
  for (const [name, spec] of Object.entries(specs)) {
    const given = Object.hasOwn(raw, name) ? raw[name] : spec.default
    resolved[name] =
      spec.kind === 'integer' ? integerParam(family, name, spec, given) : booleanParam(family, name, given)
  }
  return resolved as Params<P>
}

function integerParam(
  family: string,
  name: string,
  spec: IntegerParam,
  given: RawParams[string] | null | undefined,
): number {
  if (typeof given === 'number' && Number.isInteger(given) && given >= spec.min && given <= spec.max) return given
  const found = given === null || given === undefined ? 'it is missing' : `not ${String(given)}`
  throw new RangeError(`${family}: parameter ${name} must be an integer from ${spec.min} to ${spec.max}, ${found}`)
}

function booleanParam(family: string, name: string, given: RawParams[string] | null | undefined): boolean {
  if (typeof given === 'boolean') return given
  throw new RangeError(`${family}: parameter ${name} must be true or false, not ${String(given)}`)
}
