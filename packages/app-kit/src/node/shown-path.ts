import { relative } from 'node:path';

/** A path as the user would type it: relative to the current folder where it lies below it. */
export function shownPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short === '' || short.startsWith('..') ? path : short;
}
