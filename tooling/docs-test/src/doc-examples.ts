// Examples in doc comments, and the modules that they stand for: an example is a few lines and leaves out what its reader
// knows, imports of its own package and the usual variables.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** One `@example` of a doc comment that stands before an export. */
export interface DocExample {
  /** The line where its code begins. */
  readonly line: number;
  readonly code: string;
}

const comment = /\/\*\*(?:(?!\*\/)[\s\S])*\*\/(?=\s*export\b)/g;

/** Examples in a TypeScript file. Lines keep their places, so that errors name the right one. */
export function docExamplesOf(source: string): DocExample[] {
  return Array.from(source.matchAll(comment)).flatMap(({ 0: text, index }) => {
    const first = source.slice(0, index).split('\n').length;
    const lines = text
      .replace(/\*\/$/, '')
      .split('\n')
      .map((line) => line.replace(/^\s*\* ?/, '').trimEnd());
    return lines.flatMap((line, start) => {
      if (line.trim() !== '@example') return [];
      const rest = lines.slice(start + 1);
      const end = rest.findIndex((each) => /^@\w+/.test(each));
      const body = end < 0 ? rest : rest.slice(0, end);
      return [{ line: first + start + 1, code: body.join('\n').trimEnd() }];
    });
  });
}

/**
 * What a package's examples may use without declaring it: declarations by the name they declare, in an order that
 * runs.
 */
export type Declarations = Readonly<Record<string, string>>;

/**
 * The module that an example stands for: imports of what the package exports, the declarations that it uses, then the
 * example. A name that the example declares or imports itself is left alone.
 *
 * @param exported names of values and types, and the entry points that export them
 */
export function moduleOf(
  code: string,
  declarations: Declarations,
  exported: ReadonlyMap<string, Exported>,
): string {
  const own = declaredIn(code);
  const before: string[] = [];
  let text = code;
  for (const [name, declaration] of Object.entries(declarations).reverse()) {
    if (own.has(name) || !wordsOf(text).has(name)) continue;
    before.unshift(declaration);
    text = `${declaration}\n${text}`;
  }
  const known = declaredIn(text);
  const imports = [...wordsOf(text)]
    .filter((word) => !known.has(word))
    .flatMap((word) => {
      const found = exported.get(word);
      return found ? [`import ${found.isType ? 'type ' : ''}{ ${word} } from '${found.entry}';`] : [];
    });
  return [...imports, ...before, code, 'export {};', ''].join('\n');
}

/** Where a name comes from, and whether it is a type only. */
export interface Exported {
  readonly entry: string;
  readonly isType: boolean;
}

/** Names that a source file exports, types included, `export ... from` followed through. */
export function exportedNames(file: string): string[] {
  const source = readFileSync(file, 'utf8');
  const declared = source.matchAll(
    /^export (?:abstract |async )*(?:interface|type|class|const|function) (\w+)/gm,
  );
  const listed = source.matchAll(/^export (?:type )?\{([^}]*)\}/gm);
  const all = source.matchAll(/^export (?:type )?\* from '(\.[^']*)\.js'/gm);
  return [
    ...Array.from(declared, ([, name = '']) => name),
    ...Array.from(listed).flatMap(([, names = '']) =>
      names.split(',').flatMap((name) => /(\w+)\s*$/.exec(name)?.[1] ?? []),
    ),
    ...Array.from(all).flatMap(([, path = '']) => exportedNames(`${join(dirname(file), path)}.ts`)),
  ];
}

/** Identifiers outside comments and strings that are not members of something. */
function wordsOf(code: string): Set<string> {
  const bare = code.replace(/\/\/.*$|'(?:[^'\\\n]|\\.)*'|`[^`$]*`/gm, "''");
  return new Set(Array.from(bare.matchAll(/(?<![\w$.])[A-Za-z_$][\w$]*/g), ([word]) => word));
}

/** Names that code declares or imports. */
function declaredIn(code: string): Set<string> {
  const places = code.matchAll(
    /\b(?:const|let|function|class|import)\s+(?:type\s+)?(\{[^}]*\}|\[[^\]]*\]|[^=(:;]+)/g,
  );
  return new Set(Array.from(places).flatMap(([, place = '']) => place.match(/[A-Za-z_$][\w$]*/g) ?? []));
}
