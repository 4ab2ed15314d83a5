/** As much of YAML as Prometheus's and Grafana's files take: block style, and every string quoted. */

export type Yaml = string | number | boolean | Yaml[] | { [key: string]: Yaml };

export function yaml(value: { [key: string]: Yaml }): string {
  return `${mapping(value).join('\n')}\n`;
}

function mapping(value: { [key: string]: Yaml }): string[] {
  return Object.entries(value).flatMap(([key, inner]) => entry(`${key}:`, inner));
}

function entry(head: string, value: Yaml): string[] {
  if (typeof value === 'string' && value.includes('\n')) {
    return [`${head} |-`, ...value.split('\n').map((line) => `  ${line}`)];
  }
  if (typeof value !== 'object') return [`${head} ${scalar(value)}`];
  if (Array.isArray(value)) {
    return value.length === 0 ? [`${head} []`] : [head, ...value.flatMap(item).map((line) => `  ${line}`)];
  }
  return [head, ...mapping(value).map((line) => `  ${line}`)];
}

function item(value: Yaml): string[] {
  if (Array.isArray(value)) throw new Error('a list right inside a list');
  if (typeof value !== 'object') return [`- ${scalar(value)}`];
  const [first = '', ...rest] = mapping(value);
  return [`- ${first}`, ...rest.map((line) => `  ${line}`)];
}

function scalar(value: string | number | boolean): string {
  const isPlainQuoted = typeof value === 'string' && value.includes('"') && !/['\\\n]/.test(value);
  return isPlainQuoted ? `'${value}'` : JSON.stringify(value);
}
