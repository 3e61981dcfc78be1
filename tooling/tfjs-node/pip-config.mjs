// Where pip of this machine looks for packages, read without pip: companies and CI machines often have a mirror.
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * @typedef {object} PipSources
 * @property {string[]} indexes addresses of simple indexes (PEP 503), the configured ones first, PyPI last
 * @property {string[]} links folders or pages that list files
 */

/**
 * The keys of the sections that `pip download` reads.
 *
 * @param {string} text an ini file as pip writes it: a value may continue in indented lines
 * @returns {Record<string, string>}
 */
export function parsePipConfig(text) {
  /** @type {Record<string, string>} */
  const values = {};
  let wanted = false;
  /** @type {string | undefined} */
  let key;
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*([#;].*)?$/.test(line)) continue;
    const section = /^\[(.*)\]/.exec(line);
    if (section) {
      wanted = section[1] === 'global' || section[1] === 'download';
      key = undefined;
    } else if (wanted && /^\s/.test(line)) {
      if (key !== undefined) values[key] += `\n${line.trim()}`;
    } else if (wanted) {
      const pair = /^([^=:]+)[=:](.*)$/.exec(line);
      key = pair?.[1]?.trim().toLowerCase().replaceAll('_', '-');
      if (key !== undefined) values[key] = (pair?.[2] ?? '').trim();
    }
  }
  return values;
}

/** @param {NodeJS.ProcessEnv} env */
function configFiles(env) {
  const home = homedir();
  const files = [
    '/etc/xdg/pip/pip.conf',
    '/etc/pip.conf',
    join(home, '.pip', 'pip.conf'),
    join(env.XDG_CONFIG_HOME || join(home, '.config'), 'pip', 'pip.conf'),
  ];
  if (env.VIRTUAL_ENV) files.push(join(env.VIRTUAL_ENV, 'pip.conf'));
  if (env.PIP_CONFIG_FILE) files.push(env.PIP_CONFIG_FILE);
  return env.PIP_CONFIG_FILE === '/dev/null' ? [] : files.filter((file) => existsSync(file));
}

/**
 * @param {NodeJS.ProcessEnv} [env]
 * @param {readonly string[]} [texts] the configuration files, the strongest last
 * @returns {PipSources}
 */
export function pipSources(
  env = process.env,
  texts = configFiles(env).map((file) => readFileSync(file, 'utf8')),
) {
  /** @type {Record<string, string>} */
  const values = Object.assign({}, ...texts.map(parsePipConfig));
  for (const key of ['index-url', 'extra-index-url', 'find-links', 'no-index']) {
    const own = env[`PIP_${key.toUpperCase().replaceAll('-', '_')}`];
    if (own) values[key] = own;
  }
  /** @param {string | undefined} list */
  const words = (list) => (list ?? '').split(/\s+/).filter((word) => word !== '');
  const noIndex = /^(1|true|yes|on)$/i.test(values['no-index'] ?? '');
  const indexes = [values['index-url'] ?? '', ...words(values['extra-index-url']), 'https://pypi.org/simple'];
  return {
    indexes: noIndex ? [] : [...new Set(indexes.filter((index) => index !== ''))],
    links: words(values['find-links']).map((link) =>
      /^[a-z]+:\/\//i.test(link) ? link : pathToFileURL(link).href,
    ),
  };
}
