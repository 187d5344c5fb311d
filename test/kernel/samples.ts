/** Numbers in [0, 1) that a seed determines: Mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

/** Ranks 0 to `ranks − 1`, each with a probability in proportion to (rank + 1)^−exponent; exponent 0 is uniform. */
export function zipfRanks(ranks: number, exponent: number, random: () => number): () => number {
  const cumulative = new Float64Array(ranks)
  let total = 0
  for (let rank = 0; rank < ranks; rank++) cumulative[rank] = total += (rank + 1) ** -exponent
  return () => {
    const target = random() * total
    let low = 0
    let high = ranks - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (cumulative[middle]! <= target) low = middle + 1
      else high = middle
    }
    return low
  }
}
