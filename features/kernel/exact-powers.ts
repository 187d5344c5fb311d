import { addProduct, addWidePower, productError, type ExactSum } from './exact-sum.ts'

/** Between these the products that make up cubes and fourth powers, and their error terms, are exact doubles. */
const SMALLEST_EXACT_POWER_BASE = 2 ** -200
const LARGEST_EXACT_POWER_BASE = 2 ** 200

/** Adds the exact cube of any double. */
export function addDoubleCube(sum: ExactSum, value: number): void {
  const size = value < 0 ? -value : value
  if (size > SMALLEST_EXACT_POWER_BASE && size < LARGEST_EXACT_POWER_BASE) {
    const square = value * value
    const error = productError(value, value, square)
    if (error !== 0) addProduct(sum, error, value)
    addProduct(sum, square, value)
  } else {
    addWidePower(sum, value, 3)
  }
}

/** Adds the exact fourth power of any double: with v² = s + e, s² + 2se + e². */
export function addDoubleFourth(sum: ExactSum, value: number): void {
  const size = value < 0 ? -value : value
  if (size > SMALLEST_EXACT_POWER_BASE && size < LARGEST_EXACT_POWER_BASE) {
    const square = value * value
    const error = productError(value, value, square)
    if (error !== 0) {
      addProduct(sum, error, error)
      addProduct(sum, square, 2 * error)
    }
    addProduct(sum, square, square)
  } else {
    addWidePower(sum, value, 4)
  }
}
