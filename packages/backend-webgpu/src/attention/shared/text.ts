/** The numbers 0 to count - 1: loops of a shader are unrolled over them. */
export function range(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at);
}

/** Statements below each other, empty ones left out. */
export function lines(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('\n');
}
