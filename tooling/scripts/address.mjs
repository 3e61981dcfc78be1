// What a published package says of the place it comes from. The one place of the address is `repository` in the root's
// package.json; as long as it is not there, packages name none, and their READMEs link to nothing outside of them.
import { posix } from 'node:path';

/**
 * A manifest with `repository`, `homepage` and `bugs`.
 *
 * @template {object} Manifest
 * @param {Manifest} manifest
 * @param {string} directory of the package in the repository, with `/`
 * @param {string} [address] of the repository, such as `https://example.org/owner/name`
 * @returns {Manifest & { repository?: object, homepage?: string, bugs?: string }}
 */
export function withAddress(manifest, directory, address) {
  if (address === undefined) return manifest;
  return {
    ...manifest,
    repository: { type: 'git', url: `git+${address}.git`, directory },
    homepage: `${address}/tree/HEAD/${directory}#readme`,
    bugs: `${address}/issues`,
  };
}

const link = /\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)/g;

/**
 * A package's README as it is read elsewhere than in the repository: a relative link becomes an absolute one, or, without
 * an address, its text alone.
 *
 * @param {string} markdown
 * @param {string} directory of the package in the repository, with `/`
 * @param {string} [address]
 * @returns {string}
 */
export function publishedReadme(markdown, directory, address) {
  return markdown.replace(link, (_, text, target) =>
    address === undefined ? text : `[${text}](${address}/blob/HEAD/${posix.join(directory, target)})`,
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
