const answer = await fetch("/api/v1/containers");
document.getElementById("containers").textContent = JSON.stringify(await answer.json(), null, 1);
