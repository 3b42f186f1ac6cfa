// Ready-to-paste code for a key.

const ANY_ADDRESS = 'https://YOUR-LITELLM';

/**
 * @param {string} secret @param {string | null} address of LiteLLM @param {string} model
 * @returns {[string, string][]} the name of each tool, and its code
 */
export function snippets(secret, address, model) {
  const base = address ?? ANY_ADDRESS;
  return [
    [
      'curl',
      `curl ${base}/v1/chat/completions \\
  -H "Authorization: Bearer ${secret}" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "${model}", "messages": [{"role": "user", "content": "Hello"}]}'`,
    ],
    [
      'Python',
      `from openai import OpenAI

client = OpenAI(base_url="${base}/v1", api_key="${secret}")
answer = client.chat.completions.create(
    model="${model}", messages=[{"role": "user", "content": "Hello"}]
)
print(answer.choices[0].message.content)`,
    ],
    [
      'JavaScript',
      `import OpenAI from 'openai';

const client = new OpenAI({ baseURL: '${base}/v1', apiKey: '${secret}' });
const answer = await client.chat.completions.create({
  model: '${model}', messages: [{ role: 'user', content: 'Hello' }],
});
console.log(answer.choices[0].message.content);`,
    ],
    [
      'LangChain',
      `from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="${model}", base_url="${base}/v1", api_key="${secret}")
print(model.invoke("Hello").content)`,
    ],
    [
      'Claude Code',
      `export ANTHROPIC_BASE_URL="${base}"
export ANTHROPIC_AUTH_TOKEN="${secret}"
export ANTHROPIC_MODEL="${model}"
claude`,
    ],
  ];
}
