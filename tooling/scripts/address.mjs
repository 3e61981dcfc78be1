// Relative links of a README, which lead nowhere once its package is installed.
import { posix } from 'node:path';

const link = /\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)/g;

/**
 * A package's README for readers outside the repository: relative links become absolute.
 *
 * @param {string} markdown
 * @param {string} directory of the package in the repository, with `/`
 * @param {string} address of the repository, such as `https://example.org/owner/name`
 * @returns {string}
 */
export function publishedReadme(markdown, directory, address) {
  return markdown.replace(
    link,
    (_, text, target) => `[${text}](${address}/blob/HEAD/${posix.join(directory, target)})`,
  );
}

/**
 * Every link to a place in the repository, in any notation: it leads nowhere once the package is installed.
 *
 * @param {string} markdown
 */
export function relativeLinks(markdown) {
  const any =
    /\]\((?!https?:|#)[^)]*\)|^\[[^\]]+\]:\s+(?!https?:|#)\S+|\b(?:href|src)="(?!https?:|#)[^"]*"/gm;
  return Array.from(markdown.matchAll(any), ([whole]) => whole);
}
