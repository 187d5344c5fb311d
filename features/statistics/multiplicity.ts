/**
 * Benjamini–Hochberg adjusted p-values, in the order given: calling everything at or below α a finding keeps the
 * expected share of false findings at or below α (independent or positively dependent tests). Source: Y. Benjamini and Y. Hochberg,
 * "Controlling the False Discovery Rate", J. R. Statist. Soc. B 57 (1995).
 */
export function benjaminiHochberg(pValues: readonly number[]): readonly number[] {
  const order = pValues.map((_, index) => index).sort((a, b) => (pValues[b] ?? 1) - (pValues[a] ?? 1))
  const adjusted = Array.from({ length: pValues.length }, () => 1)
  let smallest = 1
  for (const [place, index] of order.entries()) {
    const rank = pValues.length - place
    smallest = Math.min(smallest, ((pValues[index] ?? 1) * pValues.length) / rank)
    adjusted[index] = smallest
  }
  return adjusted
}
