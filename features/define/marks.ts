/** The type that a definition stands for; exists in types only. */
export declare const VALUE: unique symbol

/** The kind of field a column refers to; exists in types only. */
export declare const KIND: unique symbol

/** The names of the events that feed a group or a union; exists in types only. */
export declare const FED_BY: unique symbol

/** The names of the key fields of a group's entity; exists in types only. */
export declare const KEYED_BY: unique symbol

/** Marks what an author defined, also across copies of this module. */
export const DEFINITION: unique symbol = Symbol.for('headwater.definition')

/** What `DEFINITION` holds: which of the authoring functions made a value. */
export type DefinitionKind =
  'field' | 'event' | 'union' | 'entity' | 'feature' | 'group' | 'derived' | 'policy' | 'service'

/** The kind of definition a value is, or null when it is something else. */
export function definitionKind(value: unknown): DefinitionKind | null {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return null
  const kind = (value as { readonly [DEFINITION]?: unknown })[DEFINITION]
  return typeof kind === 'string' ? (kind as DefinitionKind) : null
}

/**
 * `unknown` for a name in the allowed form, and for a name that is known only when it runs (the plan checks it);
 * otherwise the rule as a type that no string satisfies.
 */
export type NameRule<N extends string> = string extends N
  ? unknown
  : N extends Lowercase<N>
    ? N extends `${string}${' ' | '-' | '.' | '/' | ':'}${string}` | ''
      ? { readonly error: 'a name is lower-case letters, digits and underscores' }
      : unknown
    : { readonly error: 'a name is lower-case letters, digits and underscores' }

/** A whole number of seconds, minutes, hours or days: `'30s'`, `'5m'`, `'24h'`, `'7d'`. */
export type Duration = `${bigint}${'s' | 'm' | 'h' | 'd'}`

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** The milliseconds of a duration, or null when the text is not one (a sign, a fraction or leading zeros are not). */
export function parseDuration(text: unknown): number | null {
  const match = typeof text === 'string' ? /^(0|[1-9][0-9]{0,9})([smhd])$/.exec(text) : null
  return match === null ? null : Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? 0)
}
