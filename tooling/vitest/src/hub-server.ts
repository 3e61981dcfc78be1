import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export type Files = { readonly [path: string]: string | Uint8Array };

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';

/** Files from this size on are "large": listed with a SHA-256 and served by the CDN. */
const LARGE_BYTES = 1024;

/** A request that a test looks at or takes over. */
export interface Asked {
  readonly kind: 'listing' | 'file' | 'cdn';
  readonly path: string;
  /** First byte that was asked for. */
  readonly from: number;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The body of an ordinary answer. */
  readonly body: Buffer;
  /** How many requests of this kind and path came before. */
  readonly before: number;
  readonly server: HubServer;
}

export interface HubServer {
  readonly endpoint: string;
  readonly asked: Asked[];
  files: Files;
  commit: string;
  /** True when it has answered. */
  fault: ((asked: Asked) => boolean) | undefined;
  /** Connections that end when a client has read so far. */
  readonly cuts: { readonly at: number; readonly response: ServerResponse }[];
  /** A client's progress: cuts connections. */
  read(progress: { readonly stage: string; readonly done: number }): void;
}

export const bytesOf = (content: string | Uint8Array): Buffer => Buffer.from(content);
export const sha256 = (content: string | Uint8Array): string =>
  createHash('sha256').update(content).digest('hex');
export const gitHash = (content: string | Uint8Array): string => {
  const bytes = bytesOf(content);
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
};

/** A file as the listing of the Hub has it. */
export function listed(path: string, content: string | Uint8Array): object {
  const { length: size } = bytesOf(content);
  return {
    rfilename: path,
    size,
    blobId: gitHash(content),
    ...(size >= LARGE_BYTES && { lfs: { sha256: sha256(content), size, pointerSize: 134 } }),
  };
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What lets pages of other origins read an answer, as the Hub and its CDN send it. */
const open = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers': 'ETag,Content-Range,X-Error-Code,Retry-After',
};

/** Sends a file as a server with ranges does. */
export function sendFile({ request, response, body }: Asked, tag = `"${sha256(body)}"`): void {
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
  const isSame = request.headers['if-range'] === undefined || request.headers['if-range'] === tag;
  const from = range && isSame ? Number(range[1]) : 0;
  if (range && isSame && from >= body.length) {
    response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end();
    return;
  }
  const part = body.subarray(from);
  response.writeHead(range && isSame ? 206 : 200, {
    etag: tag,
    'accept-ranges': 'bytes',
    'content-length': part.length,
    ...(range && isSame && { 'content-range': `bytes ${from}-${body.length - 1}/${body.length}` }),
    ...open,
  });
  response.end(part);
}

/** Sends the first `length` bytes of what was asked for, and no more. */
export function sendPart(asked: Asked, length: number, tag = `"${sha256(asked.body)}"`): void {
  const part = asked.body.subarray(asked.from);
  asked.response.writeHead(asked.from > 0 ? 206 : 200, {
    ...open,
    etag: tag,
    'content-length': part.length,
    ...(asked.from > 0 && {
      'content-range': `bytes ${asked.from}-${asked.body.length - 1}/${asked.body.length}`,
    }),
  });
  asked.response.write(part.subarray(0, length));
}

/**
 * The same, and breaks the connection: when `read` has heard of the last byte, because what a client has not read by
 * then is lost with the connection.
 */
export function cutAfter(asked: Asked, length: number): void {
  sendPart(asked, length);
  if (length === 0) setTimeout(() => asked.response.destroy(), 5);
  else asked.server.cuts.push({ at: asked.from + length, response: asked.response });
}

/** The Hub in small: a listing, small files by itself, large ones by a redirect to another origin. */
export async function startHub(files: Files, repo = 'org/name'): Promise<HubServer> {
  const asked: Asked[] = [];
  const note = (
    kind: Asked['kind'],
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Asked => {
    const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const before = asked.filter((one) => one.kind === kind && one.path === path).length;
    const one: Asked = {
      kind,
      path,
      from,
      request,
      response,
      before,
      body: bytesOf(hubServer.files[path] ?? ''),
      server: hubServer,
    };
    asked.push(one);
    return one;
  };
  const cdn = await listen(
    createServer((request, response) => {
      if (request.method === 'OPTIONS') {
        response.writeHead(204, { ...open, 'access-control-allow-headers': '*' }).end();
        return;
      }
      const path = decodeURIComponent((request.url ?? '').slice(1));
      const one = note('cdn', path, request, response);
      if (hubServer.fault?.(one) !== true) sendFile(one);
    }),
  );
  const endpoint = await listen(
    createServer((request, response) => {
      const { pathname } = new URL(request.url ?? '', 'http://hub');
      if (request.method === 'OPTIONS') {
        response.writeHead(204, { ...open, 'access-control-allow-headers': '*, authorization' }).end();
        return;
      }
      const [, revision] = new RegExp(`^/api/models/${repo}/revision/([^/]+)$`).exec(pathname) ?? [];
      const [, commit, name = ''] = new RegExp(`^/${repo}/resolve/([^/]+)/(.+)$`).exec(pathname) ?? [];
      if (revision !== undefined) {
        const one = note('listing', revision, request, response);
        if (hubServer.fault?.(one) === true) return;
        if (!['main', hubServer.commit].includes(decodeURIComponent(revision))) {
          response.writeHead(404, { 'x-error-code': 'RevisionNotFound', ...open }).end('{}');
          return;
        }
        const siblings = Object.entries(hubServer.files).map(([path, content]) => listed(path, content));
        response.writeHead(200, { 'content-type': 'application/json', ...open });
        response.end(JSON.stringify({ id: repo, sha: hubServer.commit, siblings }));
        return;
      }
      const path = decodeURIComponent(name);
      const content = hubServer.files[path];
      if (commit === undefined)
        response.writeHead(401, { 'x-error-code': 'RepoNotFound', ...open }).end('{}');
      else {
        const one = note('file', path, request, response);
        if (hubServer.fault?.(one) === true) return;
        if (content === undefined || commit !== hubServer.commit) {
          response.writeHead(404, { 'x-error-code': 'EntryNotFound', ...open }).end();
        } else if (bytesOf(content).length < LARGE_BYTES) sendFile(one);
        else response.writeHead(302, { location: `${cdn}/${name}`, ...open }).end();
      }
    }),
  );
  const cuts: HubServer['cuts'] = [];
  const hubServer: HubServer = {
    endpoint,
    asked,
    files,
    commit: COMMIT,
    fault: undefined,
    cuts,
    read({ stage, done }) {
      const [cut] = cuts;
      if (stage !== 'download' || cut === undefined || done < cut.at) return;
      cuts.shift();
      cut.response.destroy();
    },
  };
  return hubServer;
}
