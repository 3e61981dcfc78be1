/** The command line of this process, for what it writes: how to make it again. */
export function calledAs(): string {
  return `pnpm lra ${process.argv.slice(2).join(' ')}`;
}
