/** A stream of pseudo-random numbers that a seed determines. */
export interface Random {
  /** In [0, 1), 53 bits. */
  uniform(): number
  /** In [low, high). */
  between(low: number, high: number): number
  /** A whole number from `low` to `high`, both included. */
  whole(low: number, high: number): number
  /** Standard normal. */
  normal(): number
  /** Exponential of the given mean. */
  exponential(mean: number): number
  chance(probability: number): boolean
  /** Throws `RangeError` for an empty list. */
  pick<T>(items: readonly T[]): T
}

/**
 * xoshiro128** 1.1, its state filled by splitmix32 from a 32-bit seed. Source: D. Blackman and S. Vigna, "Scrambled
 * Linear Pseudorandom Number Generators", ACM Trans. Math. Softw. 47 (2021). Normals by the polar method of
 * G. Marsaglia and T. Bray (1964).
 */
export function createRandom(seed: number): Random {
  const state = new Uint32Array(4)
  let mix = seed >>> 0
  for (let i = 0; i < 4; i += 1) {
    mix = (mix + 0x9e3779b9) >>> 0
    let word = Math.imul(mix ^ (mix >>> 16), 0x21f0aaad)
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97)
    state[i] = word ^ (word >>> 15)
  }

  function word32(): number {
    const [a = 0, b = 0, c = 0, d = 0] = state
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0
    const c1 = c ^ a
    const d1 = d ^ b
    state[1] = b ^ c1
    state[0] = a ^ d1
    state[2] = c1 ^ (b << 9)
    state[3] = rotate(d1, 11)
    return result
  }

  const uniform = () => ((word32() >>> 5) * 67108864 + (word32() >>> 6)) / 9007199254740992
  return {
    uniform,
    between: (low, high) => low + (high - low) * uniform(),
    whole: (low, high) => low + Math.floor(uniform() * (high - low + 1)),
    normal() {
      for (;;) {
        const x = 2 * uniform() - 1
        const y = 2 * uniform() - 1
        const square = x * x + y * y
        if (square > 0 && square < 1) return x * Math.sqrt((-2 * Math.log(square)) / square)
      }
    },
    exponential: mean => -mean * Math.log(1 - uniform()),
    chance: probability => uniform() < probability,
    pick(items) {
      const item = items[Math.floor(uniform() * items.length)]
      if (item === undefined) throw new RangeError('nothing to pick from')
      return item
    },
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}
