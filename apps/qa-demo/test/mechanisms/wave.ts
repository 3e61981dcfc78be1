/** Numbers without a pattern that rows would share. */
export function wave(size: number, speed: number): number[] {
  return Array.from({ length: size }, (_, at) => Math.sin(speed * at + 1) + Math.cos(at * at));
}
