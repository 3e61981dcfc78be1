// Links of a README, which lead nowhere once its package is installed.
import { posix } from 'node:path';

const link = /\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)/g;

/**
 * A package's README as it is read elsewhere than in the repository: relative links are absolute.
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
 * Whatever leads to a place in the repository, in any notation, and so nowhere once the package is installed.
 *
 * @param {string} markdown
 */
export function relativeLinks(markdown) {
  const any =
    /\]\((?!https?:|#)[^)]*\)|^\[[^\]]+\]:\s+(?!https?:|#)\S+|\b(?:href|src)="(?!https?:|#)[^"]*"/gm;
  return Array.from(markdown.matchAll(any), ([whole]) => whole);
}
