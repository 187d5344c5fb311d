import type { Cell, FieldType, Value } from '../types.ts'

/** Types that can be added up; what `isNumericType` accepts. */
export type NumericType = Extract<FieldType, { readonly kind: 'int' | 'int64' | 'double' | 'decimal' | 'boolean' }>

/** Every type but vectors; what `isScalarType` accepts. */
export type ScalarType = Exclude<FieldType, { readonly kind: 'vector' }>

/** Vectors; what `isVectorType` accepts. */
export type VectorType = Extract<FieldType, { readonly kind: 'vector' }>

/** Types that can be added up; a boolean counts as 0 or 1. */
export function isNumericType(type: FieldType | null): type is NumericType {
  return type !== null && type.kind !== 'string' && type.kind !== 'timestamp' && type.kind !== 'vector'
}

/** Every type but vectors. */
export function isScalarType(type: FieldType | null): type is ScalarType {
  return type !== null && type.kind !== 'vector'
}

/** Vectors only. */
export function isVectorType(type: FieldType | null): type is VectorType {
  return type !== null && type.kind === 'vector'
}

/** Every type. */
export function isFieldType(type: FieldType | null): type is FieldType {
  return type !== null
}

/** Whether cells of the type are plain numbers. */
export function isNumberCell(type: FieldType): boolean {
  return type.kind === 'int' || type.kind === 'double' || type.kind === 'decimal' || type.kind === 'timestamp'
}

/** The TypeScript type of a present value of a field. */
export function valueTypeText(type: FieldType): string {
  if (type.kind === 'string' || type.kind === 'boolean') return type.kind
  if (type.kind === 'vector') return 'readonly number[]'
  return type.kind === 'int64' ? 'bigint' : 'number'
}

/** The TypeScript type of a list of present values of a field. */
export function listTypeText(type: FieldType): string {
  const element = valueTypeText(type)
  return `readonly ${element.includes(' ') ? `(${element})` : element}[]`
}

/** From a cell to the value authors see: a decimal is divided by 10^scale, rounded once; the rest stays. */
export function cellToValue(type: FieldType): (cell: Cell) => Value {
  if (type.kind !== 'decimal') return cell => cell
  const unit = 10 ** type.scale
  return cell => (cell === null ? null : (cell as number) / unit)
}
